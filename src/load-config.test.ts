import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readIni } from './config-ini.js'
import { defaultAsText, INI_SECTIONS, SETTING_KEYS, SETTINGS, type SettingKey } from './config-schema.js'
import { ConfigError } from './lib/errors.js'
import { type ConfigInput, FlagError, loadConfig } from './load-config.js'

const files: Record<string, string> = {}

function load(input: Partial<ConfigInput> = {}) {
  return loadConfig({
    flags: {},
    env: {},
    instanceDir: '/srv/mail/shop',
    readFile(path) {
      if (Object.hasOwn(files, path)) return files[path]!
      throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
    },
    ...input,
  })
}

function problem(input: Partial<ConfigInput>): string {
  try {
    load(input)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as Error).message
  }
  throw new Error('this configuration should have been refused')
}

/** A correct text for a setting that is not its default. */
function otherText(key: SettingKey): string {
  const { kind, default: usual } = SETTINGS[key]
  const texts = ['7', '77', 'true', 'false', 'api', 'error', 'json', 'https://x.example/y', 'Europe/Rome', '10.0.0.0/8']
  const candidates = [...texts, '3600', '3700', 'a'.repeat(43), 'mail.example', 'high', 'volume:7,endpoint:8']
  return candidates.find(text => {
    const value = kind.parse(text)
    return value !== undefined && JSON.stringify(value) !== JSON.stringify(usual)
  })!
}

function valueAt(config: object, key: SettingKey): unknown {
  return key.split('.').reduce<unknown>((value, name) => (value as Record<string, unknown>)[name], config)
}

describe('the order of the sources', () => {
  const iniText = '[server]\nport = 1111\n'

  it('is default, then config.ini, then environment, then flag', () => {
    expect(load().config.server.port).toBe(8000)
    expect(load({ iniText }).config.server.port).toBe(1111)
    expect(load({ iniText, env: { GMP_PORT: '2222' } }).config.server.port).toBe(2222)
    const all = load({ iniText, env: { GMP_PORT: '2222' }, flags: { 'server.port': '3333' } })
    expect(all.config.server.port).toBe(3333)
    expect(all.sources.get('server.port')).toBe('flag')
    expect(all.sources.get('server.host')).toBe('default')
  })

  it('takes an empty variable and an empty key for not set', () => {
    const { config, sources } = load({ iniText: '[server]\nport =\n', env: { GMP_PORT: ' ' } })
    expect(config.server.port).toBe(8000)
    expect(sources.get('server.port')).toBe('default')
  })

  it('reads the file that GMP_CONFIG names in place of the folder’s', () => {
    files['/etc/mail.ini'] = '[server]\nport = 4444\n'
    expect(load({ iniText, env: { GMP_CONFIG: '/etc/mail.ini' } }).config.server.port).toBe(4444)
    expect(problem({ env: { GMP_CONFIG: '/etc/none.ini' } })).toBe(
      'GMP_CONFIG names /etc/none.ini, which cannot be read (ENOENT)',
    )
  })
})

describe('every setting', () => {
  const settable = SETTING_KEYS.filter(key => SETTINGS[key].ini !== null)

  it.each(settable)('%s can be set by each of its variables and by config.ini', key => {
    const setting = SETTINGS[key]
    const text = otherText(key)
    const expected = setting.kind.parse(text)
    // SQLite refuses the other roles.
    const postgres = key === 'server.role' ? { GMP_DB_PATH: 'postgres://db/mail' } : {}
    for (const name of setting.env) {
      const { config, sources, warnings } = load({ env: { ...postgres, [name]: text } })
      expect(valueAt(config, key)).toEqual(expected)
      expect(sources.get(key)).toBe('environment')
      expect(warnings).toEqual([])
    }
    const [section, name] = setting.ini!
    const fromFile = load({ env: postgres, iniText: `[${section}]\n${name} = ${text}\n` })
    expect(fromFile.sources.get(key)).toBe('config.ini')
    expect(valueAt(fromFile.config, key)).toEqual(setting.kind.isPath ? `/srv/mail/shop/${text}` : expected)
  })

  it('has one place in config.ini and its names for itself alone', () => {
    const places = settable.map(key => SETTINGS[key].ini!.join('.'))
    const names = SETTING_KEYS.flatMap(key => SETTINGS[key].env)
    expect(new Set(places).size).toBe(places.length)
    expect(new Set(names).size).toBe(names.length)
  })

  it('has a default that its own kind accepts as written', () => {
    for (const key of SETTING_KEYS) {
      const setting = SETTINGS[key]
      const text = defaultAsText(setting)
      if (text !== '') expect([key, setting.kind.parse(text)]).toEqual([key, setting.default])
    }
  })

  it('is frozen, whole', () => {
    const { config } = load({ env: { GMP_RETRY_DELAYS: '1,2' } })
    expect(Object.isFrozen(config)).toBe(true)
    expect(Object.isFrozen(config.server)).toBe(true)
    expect(Object.isFrozen(config.queue.retryDelaysMs)).toBe(true)
  })
})

describe('units', () => {
  it('turns seconds into milliseconds and MB into bytes', () => {
    const { config } = load({
      env: { GMP_SEND_LOOP_INTERVAL: '0.25', GMP_RETRY_DELAYS: ' 1, 2.5 ,60', GMP_MAX_BODY_MB: '2' },
    })
    expect(config.queue.loopIntervalMs).toBe(250)
    expect(config.queue.retryDelaysMs).toEqual([1000, 2500, 60_000])
    expect(config.server.maxBodyBytes).toBe(2 * 1024 * 1024)
  })

  it('reads the encryption key in hexadecimal and in both kinds of base64', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes => {
        const key = Buffer.from(bytes)
        for (const encoding of ['hex', 'base64', 'base64url'] as const) {
          expect(load({ env: { GMP_ENCRYPTION_KEY: key.toString(encoding) } }).config.encryptionKeys).toEqual([key])
        }
      }),
      { numRuns: 30 },
    )
  })
})

describe('a wrong value', () => {
  it.each([
    [
      'GMP_PORT',
      '65536',
      'GMP_PORT is "65536": it should be a whole number from 0 to 65535 (not one that browsers refuse, as 6000)',
    ],
    [
      'GMP_PORT',
      '6000',
      'GMP_PORT is "6000": it should be a whole number from 0 to 65535 (not one that browsers refuse, as 6000)',
    ],
    [
      'GMP_PORT',
      '0x50',
      'GMP_PORT is "0x50": it should be a whole number from 0 to 65535 (not one that browsers refuse, as 6000)',
    ],
    ['GMP_SEND_LOOP_INTERVAL', '0.01', 'GMP_SEND_LOOP_INTERVAL is "0.01": it should be seconds from 0.05 to 60'],
    ['GMP_TEST_MODE', 'maybe', 'GMP_TEST_MODE is "maybe": it should be true or false'],
    ['GMP_TIMEZONE', 'Mars/Base', 'GMP_TIMEZONE is "Mars/Base": it should be a time zone, as in Europe/Rome or UTC'],
    ['LOG_LEVEL', 'loud', 'LOG_LEVEL is "loud": it should be one of debug, info, warning, error'],
    ['GMP_ALLOWED_NETWORKS', '10.0.0.0/8,10.1', /^GMP_ALLOWED_NETWORKS is .* comma-separated networks/],
    ['GMP_RETRY_DELAYS', '60,,300', /^GMP_RETRY_DELAYS is "60,,300": it should be one to 20 comma-separated/],
    ['GMP_CLIENT_SYNC_URL', 'ftp://x.example', /^GMP_CLIENT_SYNC_URL is "ftp:/],
    ['GMP_HOST', 'a\nb', 'GMP_HOST is "a\\nb": it should be a host name or an IP address'],
  ])('%s=%j is refused in one line', (name, value, expected) => {
    const message = problem({ env: { [name]: value } })
    if (typeof expected === 'string') expect(message).toBe(expected)
    else expect(message).toMatch(expected)
    expect(message).not.toContain('\n')
  })

  it('is a mistake in usage when it came by flag', () => {
    expect(() => load({ flags: { 'server.port': 'http' } })).toThrow(FlagError)
    expect(problem({ flags: { 'server.port': '' } })).toMatch(/^--port is ""/)
  })

  it('names the key of config.ini', () => {
    expect(problem({ iniText: '[server]\nport = x' })).toBe(
      'config.ini [server] port is "x": it should be a whole number from 0 to 65535 (not one that browsers refuse, as 6000)',
    )
  })

  it('never shows a secret', () => {
    const secrets = SETTING_KEYS.filter(key => SETTINGS[key].secret)
    expect(secrets).toContain('encryptionKeys')
    for (const key of secrets) {
      const wrong = 's3cr\u0001et'
      const message = problem({ env: { [SETTINGS[key].env[0]!]: wrong } })
      expect(message).toMatch(/ has a wrong value: it should be /)
      expect(message).not.toMatch(/s3cr/)
    }
  })

  it('of any text is a ConfigError of one line or a value, never another failure', () => {
    fc.assert(
      fc.property(fc.constantFrom(...SETTING_KEYS), fc.string({ unit: 'binary' }), (key, text) => {
        const name = SETTINGS[key].env[0] ?? 'GMP_NOTHING'
        try {
          load({ env: { [name]: text } })
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError)
          expect((error as Error).message).not.toMatch(/[\r\n]/)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('secrets', () => {
  it('may come from a file, trimmed', () => {
    files['/run/token'] = '  file-token-1\n'
    expect(load({ env: { GMP_API_TOKEN_FILE: '/run/token' } }).config.server.apiToken).toBe('file-token-1')
    expect(load({ env: { API_TOKEN_FILE: '/run/token' } }).config.server.apiToken).toBe('file-token-1')
  })

  it('are refused when both the variable and the file are given, or the file is empty or away', () => {
    files['/run/empty'] = '\n'
    const both = { GMP_API_TOKEN: 'tok', GMP_API_TOKEN_FILE: '/run/token' }
    expect(problem({ env: both })).toBe('GMP_API_TOKEN and GMP_API_TOKEN_FILE are both set; keep one of them')
    expect(problem({ env: { GMP_API_TOKEN_FILE: '/run/empty' } })).toMatch(/which is empty$/)
    expect(problem({ env: { GMP_API_TOKEN_FILE: '/run/none' } })).toMatch(/cannot be read \(ENOENT\)$/)
  })

  it('under two names take the documented one and say so', () => {
    const { config, warnings } = load({ env: { API_TOKEN: 'old-token', GMP_API_TOKEN: 'new-token' } })
    expect(config.server.apiToken).toBe('new-token')
    expect(warnings).toEqual(['GMP_API_TOKEN and API_TOKEN differ; GMP_API_TOKEN is used'])
  })
})

describe('unknown names', () => {
  it('in the environment only warn, with what was probably meant', () => {
    expect(load({ env: { GMP_PROT: '1', GMP_DEBUG: '1', PATH: '/bin' } }).warnings).toEqual([
      'GMP_PROT is not known and has no effect; did you mean GMP_PORT?',
      'GMP_DEBUG is no longer read: set LOG_LEVEL=debug',
    ])
  })

  it('that Kubernetes sets for a Service called gmp do no harm', () => {
    const { config, warnings } = load({
      env: {
        GMP_PORT: 'tcp://10.0.0.1:8000',
        GMP_SERVICE_HOST: '10.0.0.1',
        GMP_SERVICE_PORT: '8000',
        GMP_PORT_8000_TCP_ADDR: '10.0.0.1',
      },
    })
    expect(config.server.port).toBe(8000)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/^GMP_PORT was set by Kubernetes/)
  })

  it('in config.ini stop the start with a suggestion', () => {
    expect(problem({ iniText: '[server]\nprot = 1' })).toBe(
      'config.ini [server] prot is not a known key; did you mean port?',
    )
    expect(problem({ iniText: '[logging]\nport = 1' })).toBe(
      'config.ini [logging] port is not a known key; did you mean port in [server]?',
    )
    expect(problem({ iniText: '[servers]\nport = 1' })).toBe(
      'config.ini [servers] is not a known section; did you mean server?',
    )
    expect(problem({ iniText: 'port = 1' })).toBe('config.ini: "port" stands before the first [section]')
    // A setting that its line is passed over for would have its default, and nobody would know.
    for (const line of [' = 1', 'host = a\u2028b', '__proto__ = 1', '[__proto__]', '"__proto__" = 1']) {
      expect(problem({ iniText: `[server]\r\n\n${line}\nport = 1` })).toBe('config.ini: line 3 cannot be read')
    }
    // For the ini package a CR alone ends a line too.
    expect(problem({ iniText: '[server]\r# x\rport = 1\rport = 2' })).toBe('config.ini [server] port is given twice')
    expect(problem({ iniText: '[server]\nport = 1\nport = 2' })).toBe('config.ini [server] port is given twice')
  })
})

describe('the database and the folder', () => {
  it('lie together unless told otherwise', () => {
    const { config } = load()
    expect(config.database).toMatchObject({ url: '/srv/mail/shop/mail_service.db', dialect: 'sqlite' })
    expect(config.instance).toEqual({ name: 'shop', dir: '/srv/mail/shop' })
  })

  it('follow the SQLite file when nobody named the instance', () => {
    const env = { GMP_DB_PATH: '/data/mail.db' }
    expect(load({ env, folderFollowsDatabase: true }).config.instance.dir).toBe('/data')
    expect(load({ env }).config.instance.dir).toBe('/srv/mail/shop')
    const remote = { GMP_DATABASE_URL: 'postgresql://u:p@db/mail' }
    const { config } = load({ env: remote, folderFollowsDatabase: true })
    expect(config.instance.dir).toBe('/srv/mail/shop')
    expect(config.database.dialect).toBe('postgres')
  })

  it('refuse a database that would forget or that nobody can open', () => {
    for (const url of [':memory:', 'mysql://db/mail', 'file:mail.db']) {
      expect(problem({ env: { GMP_DB_PATH: url } })).toMatch(/^GMP_DB_PATH has a wrong value/)
    }
  })

  it('refuse a role other than all on SQLite', () => {
    expect(problem({ flags: { 'server.role': 'worker' } })).toMatch(/needs PostgreSQL/)
  })
})

describe('no authentication at all', () => {
  it('needs the flag and a loopback address, and warns', () => {
    const flags = { 'server.insecureNoAuth': 'true' }
    expect(problem({ flags: { ...flags, 'server.host': '0.0.0.0' } })).toBe(
      '--insecure-no-auth only goes with a loopback address, not 0.0.0.0: add --host 127.0.0.1',
    )
    expect(load({ flags: { ...flags, 'server.host': '127.0.0.1' } }).warnings).toHaveLength(1)
    expect(load({ env: { GMP_INSECURE_NO_AUTH: 'true' } }).config.server.insecureNoAuth).toBe(false)
  })
})

describe('config.ini', () => {
  it('keeps # and ; within a value and drops them after a space', () => {
    const sections = readIni('[client]\r\nclient_sync_password = ab#c;d\\e  # why\n; x\n[server]\nhost = "a # b"\n')
    expect(sections.get('client')?.get('client_sync_password')).toBe('ab#c;d\\e')
    expect(sections.get('server')?.get('host')).toBe('a # b')
  })

  it('of the environment only what [volumes] names comes along', () => {
    const { config } = load({
      env: { S3_SECRET: 'a', UNNAMED: 'b', EMPTY: '' },
      iniText: `[volumes]\nvolume.a.config = {"k": "\${S3_SECRET} \${EMPTY} \${MISSING} \${toString}"}`,
    })
    expect(config.volumeVariables).toEqual({ S3_SECRET: 'a' })
  })

  it('passes [volumes] on as written', () => {
    const json = `{"bucket": "b", "key": "\${KEY}", "path": "a\\\\b#c"}`
    const { config } = load({
      iniText: `[volumes]\nvolume.a.backend = s3\nvolume.a.config = ${json}\nvolume.b.x = true`,
    })
    expect(config.volumes).toEqual({ 'volume.a.backend': 's3', 'volume.a.config': json, 'volume.b.x': 'true' })
  })

  it('of any text is a ConfigError or a reading, and touches no prototype', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('[', ']', '__proto__', '=', '"', '\\', '\n', 'server', 'port', '.', ' ;')),
        parts => {
          try {
            load({ iniText: parts.join('') })
          } catch (error) {
            expect(error).toBeInstanceOf(ConfigError)
          }
          expect(({} as Record<string, unknown>).port).toBeUndefined()
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('config.ini.example', () => {
  const example = readFileSync(new URL('../config.ini.example', import.meta.url), 'utf8')

  it('has every setting in its section, with its default, its variables and what it is about', () => {
    const sections = example.split(/^(?=\[)/m)
    for (const key of SETTING_KEYS) {
      const setting = SETTINGS[key]
      if (setting.ini === null) continue
      const [name, iniKey] = setting.ini
      const section = sections.find(each => each.startsWith(`[${name}]`)) ?? ''
      const entry = section.split('\n\n').find(each => new RegExp(`^;${iniKey} =`, 'm').test(each)) ?? ''
      expect(entry).toContain(`;${iniKey} = ${defaultAsText(setting)}`.trimEnd())
      expect(entry).toContain(`# ${setting.env.join(', ')}${setting.secret ? ' (or _FILE)' : ''}`)
      expect(entry).toContain(setting.about.slice(1))
    }
  })

  it('has nothing the schema does not know, and means the defaults with every line taken in', () => {
    const all = example.replace(/^;(?!volume\.)/gm, '')
    expect([...readIni(all).keys()]).toEqual([...INI_SECTIONS])
    const { config } = load()
    // A port that is written down is one that was chosen.
    expect(load({ iniText: all }).config).toEqual({ ...config, server: { ...config.server, portMayMove: false } })
    expect(load({ iniText: example.replace(/^;(?=volume\.)/gm, '') }).config.volumes).toMatchObject({
      'volume.shared.backend': 's3',
    })
  })
})
