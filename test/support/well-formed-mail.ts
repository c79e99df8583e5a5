/** What every rendered mail is, whatever it holds. */
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { renderMail } from '../../src/mime/render.js'

/** All octets of a mail. Throws when they are not as many as it said. */
export async function octetsOf(mail: ReturnType<typeof renderMail>): Promise<Buffer> {
  const opened = mail.open()
  const octets = opened instanceof Readable ? await buffer(opened) : Buffer.from(opened.join(''), 'latin1')
  if (octets.length !== mail.sizeBytes) throw new Error(`${octets.length} octets, and it said ${mail.sizeBytes}`)
  return octets
}

/** The fields that the service writes, whatever a message asks for. */
export const OWN_FIELDS: readonly string[] = [
  'message-id',
  'date',
  'from',
  'to',
  'cc',
  'reply-to',
  'subject',
  'x-genro-mail-id',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
]

/** The names of all fields of the header in lower case, in their order. */
export function fieldNamesOf(octets: Buffer): string[] {
  const header = octets
    .toString()
    .split('\r\n\r\n', 1)[0]!
    .replace(/\r\n[ \t]/g, ' ')
  return header.split('\r\n').map(field => field.slice(0, field.indexOf(':')).toLowerCase())
}

/** CRLF only, no line over 998 octets, 7bit unless an address is foreign; null: nothing is wrong. */
export function problemOfMail(octets: Buffer, international: boolean): string | null {
  const mail = octets.toString('latin1')
  if (!mail.endsWith('\r\n')) return 'it does not end with CRLF'
  const wrong = mail
    .slice(0, -2)
    .split('\r\n')
    .find(line => line.length > 998 || /[\r\n\0]/.test(line))
  if (wrong !== undefined) return `a line that is none: ${JSON.stringify(wrong.slice(0, 200))}`
  return !international && /[^\t\r\n -~]/.test(mail) ? 'it is not 7bit' : null
}
