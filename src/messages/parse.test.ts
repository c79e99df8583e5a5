import { describe, expect, it } from 'vitest'
import { type ParseContext, parseMessage } from './parse.js'

const context: ParseContext = { defaultPriority: 2, strict: false }
const usual = { id: 'm1', from: 'a@x.it', to: 'b@y.it', subject: 'Hi' }

function accept(fields: object, given: Partial<ParseContext> = {}) {
  const result = parseMessage({ ...usual, ...fields }, { ...context, ...given })
  if (!result.ok) throw new Error(`refused: ${result.reason}`)
  return result
}

function refuse(fields: object, given: Partial<ParseContext> = {}) {
  const result = parseMessage({ ...usual, ...fields }, { ...context, ...given })
  if (result.ok) throw new Error('accepted')
  return result
}

describe('the smallest message', () => {
  it('gets an envelope, an empty plain body and the default priority', () => {
    const { message, warnings } = accept({})
    expect(message).toMatchObject({
      id: 'm1',
      tenantId: null,
      accountId: null,
      priority: 2,
      batchCode: null,
      notBefore: null,
      expiresAt: null,
      envelope: { from: 'a@x.it', to: ['b@y.it'] },
      content: { subject: 'Hi', from: 'a@x.it', to: ['b@y.it'], contentType: 'plain', body: '' },
    })
    expect(warnings).toEqual([])
  })

  it.each(['id', 'from', 'to', 'subject'])('without %s it is refused in the words of old', field => {
    for (const nothing of [undefined, null, '']) {
      expect(refuse({ [field]: nothing })).toMatchObject({ code: 'missing_field', field, reason: `missing ${field}` })
    }
  })

  it.each([[null], [[]], ['text'], [7], [undefined]])('%j is no message', raw => {
    expect(parseMessage(raw, context)).toMatchObject({ ok: false, id: null, code: 'invalid_message' })
  })

  it('a refusal tells the client’s own id, also a wrong one', () => {
    expect(refuse({ to: [] }).id).toBe('m1')
    expect(refuse({ id: 17 })).toMatchObject({ id: '17', code: 'invalid_field', field: 'id' })
    expect(refuse({ id: 'a\nb' })).toMatchObject({ id: 'a\nb', code: 'invalid_field' })
    expect(refuse({ id: 'x'.repeat(256) }).field).toBe('id')
  })
})

describe('addresses', () => {
  it('from_addr stands for from', () => {
    expect(accept({ from: undefined, from_addr: 'c@x.it' }).message.envelope.from).toBe('c@x.it')
  })

  it('lists and comma-separated strings mean the same', () => {
    const list = accept({ to: ['"Rossi, Ada" <ada@x.it>', 'b@y.it, c@y.it'] }).message
    const text = accept({ to: '"Rossi, Ada" <ada@x.it>, b@y.it, c@y.it' }).message
    expect(list.envelope.to).toEqual(['ada@x.it', 'b@y.it', 'c@y.it'])
    expect(list).toEqual(text)
  })

  it('the envelope has to, cc and bcc, each address once', () => {
    const { envelope, content } = accept({ to: 'a@y.it', cc: 'A <a@Y.it>, c@y.it', bcc: ['c@y.it', 'd@y.it'] }).message
    expect(envelope.to).toEqual(['a@y.it', 'c@y.it', 'd@y.it'])
    expect(content).toMatchObject({ cc: ['A <a@y.it>', 'c@y.it'], bcc: ['c@y.it', 'd@y.it'] })
  })

  it('a to without any address is missing, whatever cc holds', () => {
    expect(refuse({ to: ' , ', cc: 'c@y.it' })).toMatchObject({ code: 'missing_field', field: 'to' })
  })

  it.each(['to', 'cc', 'bcc', 'reply_to'])('%s has at most 10,000, also when they are all the same', field => {
    const given = (count: number) => ({ to: 'x@y.it', [field]: Array(count).fill('a@b.it') })
    expect(accept(given(10_000)).ok).toBe(true)
    expect(refuse(given(10_001))).toMatchObject({
      code: 'invalid_field',
      field,
      reason: `invalid ${field}: more than 10000 addresses`,
    })
  })

  it('what is no address is refused by its field', () => {
    expect(refuse({ to: 'nobody' })).toMatchObject({ code: 'invalid_field', field: 'to' })
    expect(refuse({ from: 'a@x.it, b@x.it' })).toMatchObject({ code: 'invalid_field', field: 'from' })
    expect(refuse({ cc: [1] })).toMatchObject({ code: 'invalid_field', field: 'cc[0]' })
    expect(refuse({ to: ['a@y.it', 'b@y.it', 'c'] })).toMatchObject({
      field: 'to[2]',
      reason: "invalid to[2]: 'c': not an address",
    })
    expect(refuse({ reply_to: 'a@x.it\r\nBcc: e@x.it' })).toMatchObject({ code: 'invalid_field', field: 'reply_to' })
  })

  it('return_path is the envelope sender; <> is the null reverse-path, an empty one is none', () => {
    expect(accept({ return_path: 'bounce@x.it' }).message.envelope.from).toBe('bounce@x.it')
    expect(accept({ return_path: '<>' }).message.envelope.from).toBe('')
    expect(accept({ return_path: '' }).message.envelope.from).toBe('a@x.it')
    expect(refuse({ return_path: 'no' }).field).toBe('return_path')
  })
})

describe('bodies', () => {
  it('null is an empty body, and unknown content types are plain', () => {
    expect(accept({ body: null, content_type: 'markdown' }).message.content).toMatchObject({
      body: '',
      contentType: 'plain',
    })
  })

  it.each(['html', 'text/html', 'TEXT/HTML; charset=utf-8'])('%s is html', type => {
    expect(accept({ body: '<p>', content_type: type }).message.content).toMatchObject({
      body: '<p>',
      contentType: 'html',
    })
  })

  it('body_text and body_html stand instead of body', () => {
    const { content } = accept({ body_text: 't', body_html: '<p>' }).message
    expect(content).toMatchObject({ bodyText: 't', bodyHtml: '<p>' })
    expect(content.body).toBeUndefined()
  })

  it('a body beside one alternative is the other', () => {
    expect(accept({ body: 't', body_html: '<p>' }).message.content).toMatchObject({ bodyText: 't', bodyHtml: '<p>' })
  })

  it('two different texts for one part are refused and not one of them dropped', () => {
    expect(refuse({ body: 'a', body_text: 'b' })).toMatchObject({ code: 'invalid_field', field: 'body' })
  })

  it('a body that is no text is refused', () => {
    expect(refuse({ body: { a: 1 } }).field).toBe('body')
  })
})

describe('headers', () => {
  it('values become text, null is skipped', () => {
    expect(accept({ headers: { 'X-A': 1, 'X-B': true, 'X-C': null, 'X-D': 'd' } }).message.content.headers).toEqual({
      'X-A': '1',
      'X-B': 'true',
      'X-D': 'd',
    })
  })

  it.each(['Bcc', 'resent-to', 'Content-Type', 'MIME-Version', 'Received', 'return-path', 'X-Genro-Mail-ID'])(
    '%s cannot be set',
    name => {
      expect(refuse({ headers: { [name]: 'x' } })).toMatchObject({ code: 'invalid_field', field: `headers.${name}` })
    },
  )

  it.each([
    ['X-A', 'a\r\nBcc: e@x.it'],
    ['X-A', 'a\0'],
    ['X A', 'a'],
    ['X-A:', 'a'],
    ['', 'a'],
    ['X-A\n', 'a'],
    ['X-Ü', 'a'],
  ])('%j: %j is refused', (name, value) => {
    expect(refuse({ headers: { [name]: value } }).code).toBe('invalid_field')
  })

  it('an object for a value is refused, also one that brings its own toString', () => {
    expect(refuse({ headers: { 'X-A': { toString: 1 } } }).field).toBe('headers.X-A')
  })

  it('a header named __proto__ is a header', () => {
    const { content } = accept({ headers: JSON.parse('{"__proto__": "x"}') }).message
    expect(Object.entries(content.headers ?? {})).toEqual([['__proto__', 'x']])
    expect(Object.getPrototypeOf(content.headers)).toBe(Object.prototype)
  })
})

describe('priority and times', () => {
  it.each([
    [0, 0],
    ['1', 1],
    ['immediate', 0],
    ['High', 1],
    ['low', 3],
    [-5, 0],
    [99, 3],
  ])('priority %j is %i', (given, priority) => {
    expect(accept({ priority: given }).message.priority).toBe(priority)
  })

  it('a message without one takes the default, a wrong one is refused', () => {
    expect(accept({ priority: null }, { defaultPriority: 0 }).message.priority).toBe(0)
    expect(refuse({ priority: 'urgent' }).field).toBe('priority')
    expect(refuse({ priority: true }).field).toBe('priority')
  })

  it('Unix seconds, also as text, become epoch ms and are never early', () => {
    expect(accept({ deferred_ts: '1800000000', expires_ts: 1800000100.0004 }).message).toMatchObject({
      notBefore: 1_800_000_000_000,
      expiresAt: 1_800_000_100_001,
    })
  })

  it('milliseconds are refused with that word', () => {
    expect(refuse({ deferred_ts: 1_800_000_000_000 }).reason).toContain('milliseconds')
    expect(refuse({ expires_ts: 'soon' }).field).toBe('expires_ts')
  })

  it('deferred_ts 0 is now', () => {
    expect(accept({ deferred_ts: 0 }).message.notBefore).toBeNull()
  })
})

describe('other fields', () => {
  it('a batch code has up to 64 characters of any kind, but not the star that means all', () => {
    expect(accept({ batch_code: 'a,b "c" é' }).message.batchCode).toBe('a,b "c" é')
    expect(accept({ batch_code: '' }).message.batchCode).toBeNull()
    expect(refuse({ batch_code: 'x'.repeat(65) }).field).toBe('batch_code')
    expect(refuse({ batch_code: '*' }).field).toBe('batch_code')
  })

  it.each(['<a@b', 'a b@c', 'a@b>\r\nX: y', '<a@b> <c@d>', 'é@x'])('message_id %j is refused', id => {
    expect(refuse({ message_id: id }).field).toBe('message_id')
  })

  it('message_id is kept as given, with brackets or without', () => {
    expect(accept({ message_id: '<a@b>' }).message.content.messageId).toBe('<a@b>')
    expect(accept({ message_id: 'a@b' }).message.content.messageId).toBe('a@b')
  })

  it('half of a surrogate pair is refused where a control character is', () => {
    expect(refuse({ subject: 'a\ud800' }).field).toBe('subject')
    expect(accept({ subject: '😀' }).message.content.subject).toBe('😀')
  })

  it('unknown fields are named with what was probably meant', () => {
    expect(accept({ bodyHtml: 'x', batchcode: 'y', zzz: 1 }).warnings).toEqual([
      { id: 'm1', field: 'bodyHtml', hint: 'unknown field, ignored; did you mean "body_html"?' },
      { id: 'm1', field: 'batchcode', hint: 'unknown field, ignored; did you mean "batch_code"?' },
      { id: 'm1', field: 'zzz', hint: 'unknown field, ignored' },
    ])
  })

  it('strict refuses them', () => {
    expect(refuse({ bodyHtml: 'x' }, { strict: true })).toMatchObject({
      code: 'unknown_field',
      field: 'bodyHtml',
      reason: 'unknown field bodyHtml: did you mean "body_html"?',
    })
    expect(refuse({ zzz: 1 }, { strict: true }).reason).toBe('unknown field zzz')
  })
})

describe('attachments', () => {
  const attach = (fields: object) => ({ attachments: [{ filename: 'a.txt', storage_path: 'base64:aGk=', ...fields }] })

  it('base64 comes without its prefix and its line breaks', () => {
    expect(accept(attach({ storage_path: 'base64:aG\r\nk=' })).message.content.attachments).toEqual([
      expect.objectContaining({ filename: 'a.txt', fetchMode: 'base64', storagePath: 'aGk=' }),
    ])
    expect(accept(attach({ storage_path: 'aGk=', fetch_mode: 'base64' })).ok).toBe(true)
    expect(accept(attach({ fetch_mode: 'storage' })).message.content.attachments?.[0]?.fetchMode).toBe('base64')
  })

  it.each(['base64:a', 'base64:a*b=', 'base64:aGk===', 'base64:=aGk', 'base64:aG=k', 'base64:aGkx='])(
    '%s is refused',
    path => {
      expect(refuse(attach({ storage_path: path }))).toMatchObject({
        code: 'invalid_field',
        field: 'attachments[0].storage_path',
      })
    },
  )

  it('ten megabytes are checked in linear time and without a deep stack', () => {
    const content = 'QUJD'.repeat(2_500_000)
    const started = performance.now()
    expect(accept(attach({ storage_path: `base64:${content}` })).ok).toBe(true)
    expect(performance.now() - started).toBeLessThan(5_000)
  })

  it.each([
    ['https://x.it/a', 'http_url'],
    ['/etc/passwd', 'filesystem'],
    ['doc_id=9', 'endpoint'],
    ['vol:a/b', 'volume'],
    ['other:a/b', 'endpoint'],
  ])('%s means %s', (path, mode) => {
    const { message } = accept(attach({ storage_path: path }), { isVolume: name => name === 'vol' })
    expect(message.content.attachments).toMatchObject([{ storagePath: path, fetchMode: mode }])
  })

  it('a control character in a path is refused', () => {
    for (const path of ['/a\0b', 'https://x.it/\r\nX: y']) {
      expect(refuse(attach({ storage_path: path }))).toMatchObject({
        code: 'invalid_field',
        field: 'attachments[0].storage_path',
      })
    }
  })

  it('the MD5 marker is cut out of the file name', () => {
    const md5 = '9e107d9d372bb6826bd81d3542a419d6'
    const storage_path = `base64:${Buffer.from('The quick brown fox jumps over the lazy dog').toString('base64')}`
    const [first] = accept(attach({ filename: `c_{MD5:${md5}}.bin`, storage_path })).message.content.attachments ?? []
    expect(first).toMatchObject({ filename: 'c.bin', contentMd5: md5 })
  })

  it('a content with another MD5 than the one given is refused', () => {
    expect(refuse(attach({ content_md5: '0'.repeat(32) }))).toMatchObject({
      code: 'invalid_field',
      field: 'attachments[0].content_md5',
    })
  })

  it.each([
    [{ filename: '' }, 'filename', 'missing_field'],
    [{ filename: 'a\r\nb' }, 'filename', 'invalid_field'],
    [{ storage_path: null }, 'storage_path', 'missing_field'],
    [{ mime_type: 'text/plain\r\nX: y' }, 'mime_type', 'invalid_field'],
    [{ mime_type: 'text' }, 'mime_type', 'invalid_field'],
    [{ content_id: 'a b' }, 'content_id', 'invalid_field'],
    [{ content_md5: 'xyz' }, 'content_md5', 'invalid_field'],
    [{ fetch_mode: 'ftp' }, 'fetch_mode', 'invalid_field'],
    [{ auth: { token: 'a' } }, 'auth.method', 'invalid_field'],
    [{ auth: { method: 'bearer' } }, 'auth.token', 'invalid_field'],
    [{ auth: { method: 'bearer', token: 'a\r\nb' } }, 'auth.token', 'invalid_field'],
  ])('%j is refused by its field', (fields, field, code) => {
    expect(refuse(attach(fields))).toMatchObject({ code, field: `attachments[0].${field}` })
  })

  it.each([
    [{ method: 'none' }, { method: 'none' }],
    [{}, undefined],
    [null, undefined],
  ])('auth %j is %j: none in so many words is not the same as nothing said', (auth, expected) => {
    expect(accept(attach({ auth })).message.content.attachments?.[0]?.auth).toEqual(expected)
  })

  it('a secret of auth is in no refusal', () => {
    const refused = refuse(attach({ auth: { method: 'digest', password: 'hunter2' } }))
    expect(JSON.stringify(refused)).not.toContain('hunter2')
  })

  it('unknown keys are warned of with their place', () => {
    expect(accept(attach({ mimetype: 'text/plain' })).warnings).toEqual([
      { id: 'm1', field: 'attachments[0].mimetype', hint: 'unknown field, ignored; did you mean "mime_type"?' },
    ])
  })
})
