/** The client's own headers: names and values safe to write as they are, and none that the service owns. */
import { isObject, isUnsafe, type Reading, refuseInvalid } from './fields.js'

/** RFC 5322 §3.6.8 (printable ASCII without the colon). */
const NAME = /^[!-9;-~]{1,100}$/
const MAX_HEADERS = 200
const MAX_VALUE = 10_000

/** What the service writes itself, or what would change who gets the mail or how its parts are read. */
const OWNED = new Set(['bcc', 'mime-version', 'received', 'return-path', 'x-genro-mail-id'])
const OWNED_FAMILIES = ['resent-', 'content-']

/** undefined: none given, or refused. null values are skipped; numbers and booleans become text. */
export function parseHeaders(reading: Reading): Readonly<Record<string, string>> | undefined {
  const given = reading.source.headers
  if (given === undefined || given === null) return undefined
  if (!isObject(given)) return refuseInvalid(reading, 'headers', 'must be an object') ?? undefined
  const entries: [string, string][] = []
  for (const name of Object.keys(given)) {
    const value = given[name]
    if (value === undefined || value === null) continue
    // Not String() of an object: its JSON may bring a toString of its own.
    const text = typeof value === 'object' ? null : String(value)
    const problem = problemOf(name, text)
    if (problem !== null) return refuseInvalid(reading, `headers.${shown(name)}`, problem) ?? undefined
    if (text !== null) entries.push([name, text])
    if (entries.length > MAX_HEADERS) {
      return refuseInvalid(reading, 'headers', `more than ${MAX_HEADERS} headers`) ?? undefined
    }
  }
  // fromEntries defines own properties, so a header named __proto__ stays a header.
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

function problemOf(name: string, text: string | null): string | null {
  if (!NAME.test(name)) return 'not a header name'
  const lower = name.toLowerCase()
  if (OWNED.has(lower) || OWNED_FAMILIES.some(family => lower.startsWith(family))) return 'this header cannot be set'
  if (text === null) return 'must be text'
  if (text.length > MAX_VALUE) return `is longer than ${MAX_VALUE} characters`
  return isUnsafe(text) ? 'must not contain control characters' : null
}

function shown(name: string): string {
  return name.slice(0, 100)
}
