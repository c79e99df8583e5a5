/** Reads the header that Nodemailer wrote, and tells from it what the proxy is to write as it stands. */
import { MailProxyError } from '../error.js'

/** Fields by their name in lower case; values unfolded. */
export type HeaderLines = ReadonlyMap<string, { readonly name: string; readonly values: readonly string[] }>

/** Written by the proxy from the message's own fields, or by whoever takes the mail. */
const NOT_CUSTOM = new Set([
  'from',
  'to',
  'cc',
  'bcc',
  'reply-to',
  'subject',
  'message-id',
  'mime-version',
  'received',
  'return-path',
  'x-genro-mail-id',
])

export function headerLines(text: string): HeaderLines {
  const lines = new Map<string, { name: string; values: string[] }>()
  for (const line of text.replace(/\r?\n[ \t]+/g, ' ').split(/\r?\n/)) {
    const colon = line.indexOf(':')
    if (colon < 1) continue
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim()
    const known = lines.get(name.toLowerCase())
    if (known === undefined) lines.set(name.toLowerCase(), { name, values: [value] })
    else known.values.push(value)
  }
  return lines
}

/**
 * Date, X-Mailer, Importance, List-*, References and whatever the application added.
 * @throws MailProxyError for a field that stands twice: the proxy has one value a name.
 */
export function customHeaders(lines: HeaderLines): Record<string, string> | undefined {
  const custom: [string, string][] = []
  for (const [key, { name, values }] of lines) {
    if (NOT_CUSTOM.has(key) || key.startsWith('content-')) continue
    // RFC 2369 has one field a name with a list in it; Nodemailer writes several fields.
    const isList = key.startsWith('list-')
    if (values.length > 1 && !isList) {
      throw new MailProxyError(
        'unsupported_field',
        `The mail proxy cannot take headers.${name}: it has several values`,
        {
          details: { field: `headers.${name}` },
        },
      )
    }
    const value = isList ? values.join(', ') : values[0]!
    if (value !== '') custom.push([name, value])
  }
  return custom.length === 0 ? undefined : Object.fromEntries(custom)
}
