/**
 * Bytes of a request body to a JSON value, for the event loop and for the parse thread alike. Hostile input is assumed:
 * `__proto__` keys are refused, nesting is limited so that whatever walks the value later cannot exhaust the stack.
 */
import { isUtf8 } from 'node:buffer'

const MAX_DEPTH = 64

/** The body is no JSON. `position` is the octet offset where it is known; nothing of the body is told. */
export class InvalidJson extends Error {
  override name = 'InvalidJson'
  constructor(
    readonly reason: string,
    readonly position: number,
  ) {
    super(reason)
  }
}

/** An empty body is `{}`. Throws InvalidJson. */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new InvalidJson('The body is not UTF-8', 0)
  const text = bytes.toString('utf8')
  if (text.trim() === '') return {}
  let value: unknown
  try {
    value = JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text)
  } catch (error) {
    throw invalid(text, (error as Error).message)
  }
  refuseUnsafe(value, 0)
  return value
}

/** The engine's message quotes the body, which may hold a password: only its position is used. */
function invalid(text: string, message: string): InvalidJson {
  const at = Number(/position (\d+)/.exec(message)?.[1] ?? Number.NaN)
  if (message.startsWith('Unexpected end') || at >= text.trimEnd().length) {
    return new InvalidJson('The body is not valid JSON: it ends too early', text.length)
  }
  if (Number.isNaN(at)) return new InvalidJson('The body is not valid JSON', 0)
  // Counted, not split: 50 MB of line breaks became 600 MB.
  let line = 1
  for (let end = text.indexOf('\n'); end >= 0 && end < at; end = text.indexOf('\n', end + 1)) line += 1
  const where = `line ${line}, column ${at - text.lastIndexOf('\n', at - 1)}`
  return new InvalidJson(`The body is not valid JSON: ${where}`, at)
}

function refuseUnsafe(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) return
  if (depth >= MAX_DEPTH) throw new InvalidJson(`The body is nested deeper than ${MAX_DEPTH} levels`, 0)
  if (Array.isArray(value)) {
    for (const item of value) refuseUnsafe(item, depth + 1)
    return
  }
  // JSON.parse makes it an own key, which turns into the prototype once somebody assigns the keys to another object.
  // Nobody means it, and dropped in silence a header of that name would be missing from the mail.
  if (Object.hasOwn(value, '__proto__')) throw new InvalidJson('The body has a key named __proto__', 0)
  for (const key in value) refuseUnsafe((value as Record<string, unknown>)[key], depth + 1)
}
