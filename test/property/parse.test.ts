import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseMessage } from '../../src/messages/parse.js'

const context = { defaultPriority: 2, strict: false } as const

/** Text that likes to be hostile. */
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({
    unit: fc.constantFrom('a', '@', ',', '<', '>', '"', '\\', '\r', '\n', '\0', '\ud800', 'é', ' ', ':', '.'),
  }),
  fc.constantFrom('', 'a@b.it', 'A <a@b.it>', 'base64:aGk=', 'base64:***', '1', 'html', 'x\r\nBcc: e@x.it'),
)
const scalar = fc.oneof(text, fc.integer(), fc.double(), fc.boolean(), fc.constant(null))
const anything = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 4 }),
  fc.dictionary(text, scalar, { maxKeys: 4 }),
  fc.jsonValue(),
)

const fields = `tenant_id account_id cc bcc reply_to return_path body content_type body_text body_html headers message_id
  attachments priority deferred_ts expires_ts batch_code from_addr`
const address = fc.oneof(fc.constantFrom('a@x.it', 'Ada <ada@x.it>'), text)
const attachment = fc.record(
  { filename: text, storage_path: text, mime_type: text, content_id: text, content_md5: text, auth: anything },
  { requiredKeys: [] },
)

/** A good message of which some fields were replaced by anything. */
const message = fc
  .tuple(
    fc.subarray([...fields.split(/\s+/), 'zzz'], { maxLength: 4 }),
    fc.array(anything, { minLength: 4, maxLength: 4 }),
    fc.record(
      {
        id: text,
        from: address,
        to: fc.oneof(address, fc.array(address, { maxLength: 3 })),
        subject: text,
        headers: fc.dictionary(fc.oneof(fc.constantFrom('X-A', 'X-B'), text), scalar, { maxKeys: 2 }),
        attachments: fc.array(
          attachment.map(each => ({ filename: 'a.txt', storage_path: 'base64:aGk=', ...each })),
          { maxLength: 2 },
        ),
      },
      { requiredKeys: [] },
    ),
    fc.boolean(),
  )
  .map(([names, values, replaced, isReplaced]) => ({
    ...{ id: 'm1', from: 'a@x.it', to: 'b@y.it', subject: 'Hi' },
    ...Object.fromEntries(names.map((name, i) => [name, values[i]])),
    ...(isReplaced ? replaced : {}),
  }))

const UNSAFE = /[\u0000-\u001f\u007f-\u009f\p{Cs}]/u

describe('parseMessage', () => {
  it('never throws, and tells a code and a reason for what it refuses', () => {
    fc.assert(
      fc.property(fc.oneof(message, fc.jsonValue(), anything), raw => {
        const result = parseMessage(raw, context)
        if (result.ok) return
        expect(result.code).toMatch(/^[a-z_]+$/)
        expect(result.reason.length).toBeGreaterThan(0)
      }),
      { numRuns: 2_000 },
    )
  })

  it('what it accepts holds no control character where one could break a line', () => {
    let accepted = 0
    fc.assert(
      fc.property(message, raw => {
        const result = parseMessage(raw, context)
        if (!result.ok) return
        accepted += 1
        const { id, tenantId, accountId, batchCode, envelope, content } = result.message
        const { subject, from, to, cc, bcc, replyTo, returnPath, headers, messageId, attachments } = content
        const lines = [
          ...[id, tenantId, accountId, batchCode, envelope.from, subject, from, replyTo, returnPath, messageId],
          ...[...envelope.to, ...to, ...(cc ?? []), ...(bcc ?? [])],
          ...Object.entries(headers ?? {}).flat(),
          ...(attachments ?? []).flatMap(each => [each.filename, each.mimeType, each.contentId, each.contentMd5]),
        ]
        expect(lines.filter(line => line != null && UNSAFE.test(line))).toEqual([])
        expect(envelope.to.length).toBeGreaterThan(0)
        expect(new Set(envelope.to).size).toBe(envelope.to.length)
        expect([0, 1, 2, 3]).toContain(result.message.priority)
        for (const at of [result.message.notBefore, result.message.expiresAt]) {
          expect(at === null || (Number.isSafeInteger(at) && at >= 0)).toBe(true)
        }
        // What is stored comes back as it was.
        expect(JSON.parse(JSON.stringify(content))).toEqual(content)
      }),
      { numRuns: 5_000 },
    )
    // The twin: without accepted messages the property would say nothing.
    expect(accepted).toBeGreaterThan(500)
  })
})
