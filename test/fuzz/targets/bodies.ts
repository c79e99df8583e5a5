/** Request bodies: small ones as JSON, large ones with their long contents taken out. */
import { createHash } from 'node:crypto'
import { InvalidJson, parseJson } from '../../../src/http/parse-json.js'
import { readLarge } from '../../../src/http/read-large.js'
import { authorizationOf, readHttpAuth } from '../../../src/lib/http-auth.js'
import type { InlineUpload } from '../../../src/messages/message.js'
import { parseMessage } from '../../../src/messages/parse.js'
import { check, type FuzzTarget, stated } from '../target.js'

const JSON_WORDS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\"',
  '\\u',
  '\\u0000',
  '\\ud800',
  '"__proto__":',
  '"constructor":',
  '"toString":',
  '[['.repeat(40),
  '{"a":'.repeat(70),
  '1e999',
  '-1e-999',
  '9'.repeat(400),
  'null',
  'true',
  '\ufeff',
  '\xff',
  '\0',
  '\n',
  ' ',
  '/*',
]

const json: FuzzTarget = {
  name: 'json',
  seeds: ['{"a":[1,{"b":null}],"c":"\\u00e9"}', '', ' \n', '\ufeff{}', '{"a":1,"a":2}', '[[[]]]'],
  words: JSON_WORDS,
  async run(octets) {
    const read = await stated([InvalidJson], () => parseJson(octets))
    if (!read.ok) {
      const { reason, position } = read.error as InvalidJson
      check(reason.length < 100 && position >= 0, 'no reason', reason, position)
      // Nothing of the body, which may hold a password: the sentence is one of ours.
      check(
        /^The body (is not UTF-8|is not valid JSON(: (it ends too early|line \d+, column \d+))?|is nested deeper than 64 levels|has a key named __proto__)$/.test(
          reason,
        ),
        'another sentence',
        reason,
      )
      return
    }
    const text = octets.toString('utf8').replace(/^\ufeff/, '')
    check(JSON.stringify(read.value) === JSON.stringify(text.trim() === '' ? {} : JSON.parse(text)), 'another value')
    check(depthOf(read.value) <= 64, 'too deep')
  },
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let deepest = 0
  for (const each of Object.values(value)) deepest = Math.max(deepest, depthOf(each))
  return deepest + 1
}

const MARK = 'mark-of-this-body'
const LONG = 'QUJDRA8v'.repeat(8_400)
const context = { defaultPriority: 2, strict: false } as const

/** `~` stands for 67,200 characters of base64, `^` for 11,200, so that short inputs reach the bounds. */
const uploads: FuzzTarget = {
  name: 'large-bodies',
  mostOctets: 3_000,
  seeds: [
    '{"messages":[{"id":"m","from":"a@x.it","to":"b@y.it","subject":"s","attachments":[{"filename":"a","storage_path":"base64:~"},{"filename":"b","storage_path":"^","content_md5":"0cc175b9c0f1b6a831c399e269772661"}]}]}',
    '{"messages":[{"id":"m","from":"a@x.it","to":"b@y.it","subject":"s","headers":{"storage_path":"~"},"attachments":[{"filename":"a","fetch_mode":"base64","storage_path":"~QQ=="}]}],"default_priority":1}',
    '{"messages":[{"id":"m","from":"a@x.it","to":"b@y.it","subject":"s","attachments":[{"filename":"a","storage\\u005fpath":"~\\r\\n\\/ A"},{"filename":"a","storage_path":"x","storage_path":"~"}]}]}',
  ],
  words: [
    '~',
    '^',
    '"storage_path":',
    '"storage\\u005fpath":',
    '"attachments":[',
    '"messages":[',
    '{"filename":"a","storage_path":"~"},',
    '\\"storage_path\\":\\"',
    'base64:',
    '=',
    '==',
    '\\r\\n',
    '\\/',
    '\\n',
    '\\t',
    '\\u002f',
    '\\\\',
    '\n',
    ' ',
    'A',
    '!',
    '\xff',
    '\\u00a0',
    `"${MARK}:0"`,
    '"http_url"',
    '"fetch_mode":',
    ...JSON_WORDS.slice(0, 12),
  ],
  async run(given) {
    const octets = Buffer.from(
      given.toString('latin1').replaceAll('~', LONG).replaceAll('^', LONG.slice(0, 11_200)),
      'latin1',
    )
    if (octets.length > 3_000_000) return
    const whole = await stated([InvalidJson], () => parseJson(octets))
    const large = await stated([InvalidJson], () => readLarge(Buffer.from(octets), MARK))
    check(whole.ok === large.ok, 'only one of the ways is JSON')
    if (!whole.ok || !large.ok) return check(whole.error?.message === large.error?.message, 'another reason')
    // What no client can know is not in the body.
    if (octets.includes(MARK)) return
    const { messages = [] } = (whole.value ?? {}) as { messages?: unknown[] }
    if (!Array.isArray(messages)) return
    check(messages.length === large.value.messages.length, 'other messages')
    const taken = new Map<string, InlineUpload>(large.value.uploads.map((each, i) => [`${MARK}:${i}`, each]))
    for (const [i, raw] of messages.entries()) {
      const plain = parseMessage(raw, context)
      const apart = parseMessage(large.value.messages[i], { ...context, uploads: taken })
      check(plain.ok === apart.ok, 'only one of the ways takes it', plain.ok ? apart : plain)
      if (!plain.ok || !apart.ok) continue
      const contents = (plain.message.content.attachments ?? []).map(each =>
        each.fetchMode === 'base64' ? md5(Buffer.from(each.storagePath, 'base64')) : each.storagePath,
      )
      const others = (apart.message.content.attachments ?? []).map((each, at) => {
        const upload = apart.message.uploads.get(at)
        if (upload !== undefined)
          check(
            md5(Buffer.concat(upload.parts)) === upload.md5 && Buffer.concat(upload.parts).length === upload.sizeBytes,
            'not what it says',
          )
        return (
          upload?.md5 ?? (each.fetchMode === 'base64' ? md5(Buffer.from(each.storagePath, 'base64')) : each.storagePath)
        )
      })
      check(JSON.stringify(contents) === JSON.stringify(others), 'other contents', contents, others)
    }
  },
}

function md5(octets: Buffer): string {
  return createHash('md5').update(octets).digest('hex')
}

const credentials: FuzzTarget = {
  name: 'http-auth',
  seeds: ['{"method":"bearer","token":"t"}', '{"method":"basic","user":"u","password":""}', '{"method":"none"}', '{}'],
  words: [
    '"method":',
    '"token":',
    '"user":',
    '"password":',
    '"basic"',
    '"bearer"',
    '\\r\\n',
    '\\u0000',
    ':',
    'é',
    '\\ud800',
    ' ',
    ...JSON_WORDS,
  ],
  run(octets) {
    let given: unknown
    try {
      given = JSON.parse(octets.toString())
    } catch {
      return
    }
    if (typeof given !== 'object' || given === null || Array.isArray(given)) return
    const read = readHttpAuth(given as Record<string, unknown>)
    const header = read.ok ? authorizationOf(read.auth) : null
    check(header === null || /^(Bearer|Basic) [ -~]+$/.test(header), 'no header', header)
  },
}

export const bodyTargets = [json, uploads, credentials]
