/** What an operator writes: config.ini, values, words of the command line. */

import { parseDays, parseHours } from '../../../src/cli/commands/rules/words.js'
import { UsageError } from '../../../src/cli/errors.js'
import { timeToCome, unixTime } from '../../../src/cli/times.js'
import { readIni } from '../../../src/config-ini.js'
import { SETTING_KEYS, SETTINGS } from '../../../src/config-schema.js'
import { ConfigError } from '../../../src/lib/errors.js'
import { createNetworkGuard } from '../../../src/lib/network-guard.js'
import { loadConfig } from '../../../src/load-config.js'
import { readVolumeLines } from '../../../src/volumes/config-lines.js'
import { check, FIELD, type FuzzTarget, fieldsOf, stated } from '../target.js'

/** A reference to a variable of the environment. */
const A = ['$', '{A}'].join('')

const INI_WORDS = [
  '[',
  ']',
  '=',
  '\n',
  '\r\n',
  '\r',
  ';',
  '#',
  ' ;',
  ' #',
  '"',
  "'",
  '\\',
  '\\;',
  '.',
  '[]',
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'true',
  'null',
  '[server]\n',
  'port = ',
  'password = ',
  A,
  '\0',
  '\ufeff',
  '\u2028',
  '=[',
  '{"a":1}',
]

const ini: FuzzTarget = {
  name: 'config-ini',
  seeds: [
    '[server]\nport = 8000\nhost=0.0.0.0 ; all\n',
    `[volumes]\nvolume.a.backend = s3\nvolume.a.config = {"bucket": "b#c", "secret_access_key": "${A}"}\n`,
    '[client]\r\nclient_sync_password = "a;b"\n# x\n; y\n',
    '[a.b]\nc[] = 1\nc[] = 2\n',
    '\ufeff[x]\ny\n',
  ],
  words: INI_WORDS,
  async run(octets) {
    const text = octets.toString()
    const read = await stated([ConfigError], () => readIni(text))
    const loaded = await stated([ConfigError], () =>
      loadConfig({ flags: {}, env: {}, iniText: text, instanceDir: '/x', readFile: () => '' }),
    )
    for (const each of [read, loaded])
      check(
        each.ok || (each.error.message.length < 500 && !/[\r\n\0]/.test(each.error.message)),
        'no line',
        each.ok ? '' : each.error.message,
      )
    if (!read.ok) return
    let total = 0
    for (const [section, keys] of read.value) {
      for (const [key, value] of keys) {
        check(typeof key === 'string' && typeof value === 'string', 'no text', section, key)
        total += 1
      }
    }
    // Nothing is dropped in silence: each line with a key is there, or an error said why not.
    const lines = text
      .replace(/^\ufeff/, '')
      .split(/\r|\n/)
      .map(line => line.trim())
    const keyed = lines.filter(
      line => line !== '' && !/^[#;]/.test(line) && !/^\[[^\]]*\]$/.test(line.replace(/\s[#;].*$/, '')),
    )
    check(total === keyed.length, 'keys are missing', total, keyed)
  },
}

const volumes: FuzzTarget = {
  name: 'volume-lines',
  seeds: [['volume.a.backend', 's3'].join(FIELD), ['volume.a.config', `{"a":"${A}","b":["${A}${A}"]}`].join(FIELD)],
  words: [
    FIELD,
    'volume.',
    '.backend',
    '.config',
    '.account_id',
    A,
    '$',
    '}',
    '$$',
    '__proto__',
    '{"a":',
    '[['.repeat(40),
    '\\u0000',
  ],
  async run(octets) {
    const [key, value, other, more] = fieldsOf(octets, 4) as [string, string, string, string]
    const lines = Object.fromEntries([
      [key, value],
      ['volume.a.backend', 's3'],
      [other, more],
    ])
    const read = await stated([ConfigError], () => readVolumeLines(lines, { A: `secret"\n${A}` }))
    check(
      read.ok || (!read.error.message.includes('secret"') && !/[\r\n\0]/.test(read.error.message)),
      'no line',
      read.ok ? '' : read.error.message,
    )
  },
}

const values: FuzzTarget = {
  name: 'setting-values',
  seeds: [
    '8000',
    '60,300,900',
    'true',
    'https://x.test/a',
    'postgresql://u:p@h/d',
    '10.0.0.0/8,fd00::/8',
    'Europe/Rome',
    'a'.repeat(64),
    'high',
    './mail.db',
    'endpoint:30,volume:60',
  ],
  words: [
    ',',
    ':',
    '/',
    '.',
    '-',
    '0',
    '9'.repeat(20),
    '1e3',
    '0x10',
    'Infinity',
    'NaN',
    '\0',
    '\n',
    'é',
    '::ffff:0:0/96',
    '/33',
    '__proto__',
    'constructor',
    'http://u:p@h',
    'UTC',
  ],
  run(octets) {
    const text = octets.toString()
    for (const key of SETTING_KEYS) {
      const parsed = SETTINGS[key].kind.parse(text) as unknown
      check(typeof parsed !== 'number' || Number.isSafeInteger(parsed), 'no number', key, parsed)
      if (key === 'network.allowed' && parsed !== undefined)
        createNetworkGuard({ allowPrivate: false, allowed: parsed as string[] })
    }
  },
}

const words: FuzzTarget = {
  name: 'command-line-words',
  seeds: ['mon-fri,sun', 'weekdays', '9-18', '22-6', '2h', '+7d', '2027-06-30T08:00', '1737627332', 'all'],
  words: [
    '-',
    ',',
    ':',
    ' ',
    'mon',
    'sun',
    'weekend',
    'constructor',
    '__proto__',
    '24',
    '99',
    '+',
    'd',
    'w',
    '9'.repeat(12),
    'T',
    'Z',
    '275760-09-13',
  ],
  async run(octets) {
    const text = octets.toString()
    const days = await stated([UsageError], () => parseDays(text))
    if (days.ok)
      check(
        Array.isArray(days.value) && days.value.every(day => Number.isInteger(day) && day >= 0 && day <= 6),
        'no days',
        days.value,
      )
    const hours = await stated([UsageError], () => parseHours(text))
    if (hours.ok)
      for (const hour of [hours.value.start_hour, hours.value.end_hour])
        check(hour === null || (Number.isInteger(hour) && hour >= 0 && hour <= 23), 'no hour', hour)
    for (const read of [unixTime, timeToCome]) {
      const at = await stated([UsageError], () => read('--since', text))
      if (at.ok) check(Number.isSafeInteger(at.value), 'no time', at.value)
    }
  },
}

export const settingTargets = [ini, volumes, values, words]
