/** What is submitted: messages of about 2 KB on the wire, and requests with them, ready before a clock is started. */

import { TOKEN } from './child.js'

export type Fields = Readonly<Record<string, unknown>>

export const BODY = `${'The quick brown fox jumps over the lazy dog and back again.\r\n'.repeat(28)}`
let serial = 0

export function messages(count: number, fieldsOf: Fields | ((index: number) => Fields) = {}): Fields[] {
  return Array.from({ length: count }, (_, index) => {
    serial += 1
    return {
      id: `bench-${serial}`,
      tenant_id: 'default',
      account_id: 'main',
      from: 'Bench <bench@example.com>',
      to: [`recipient-${serial}@example.net`],
      subject: `Message ${serial} of the bench`,
      body: BODY,
      ...(typeof fieldsOf === 'function' ? fieldsOf(index) : fieldsOf),
    }
  })
}

/** Whole HTTP requests of `size` messages each. */
export function requests(count: number, size: number, fieldsOf: Parameters<typeof messages>[1] = {}): Buffer[] {
  const of = typeof fieldsOf === 'function' ? fieldsOf : () => fieldsOf
  return Array.from({ length: Math.ceil(count / size) }, (_, i) =>
    requestOf(messages(Math.min(size, count - i * size), index => of(i * size + index))),
  )
}

function requestOf(added: readonly Fields[]): Buffer {
  const body = Buffer.from(JSON.stringify({ messages: added }))
  const head = [
    'POST /commands/add-messages HTTP/1.1',
    'Host: bench',
    `X-API-Token: ${TOKEN}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body])
}
