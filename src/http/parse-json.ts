/**
 * Bytes of a request body to a JSON value, for the event loop and for the parse thread alike. Hostile input is assumed:
 * `__proto__` keys are dropped, nesting is limited so that whatever walks the value later cannot exhaust the stack.
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
    // The engine's message quotes the body, which may hold a password.
    const at = /position (\d+)/.exec((error as Error).message)?.[1]
    throw new InvalidJson('The body is not valid JSON', Number(at ?? 0))
  }
  clean(value, 0)
  return value
}

function clean(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) return
  if (depth >= MAX_DEPTH) throw new InvalidJson(`The body is nested deeper than ${MAX_DEPTH} levels`, 0)
  if (Array.isArray(value)) {
    for (const item of value) clean(item, depth + 1)
    return
  }
  // JSON.parse makes it an own key, which turns into the prototype once somebody assigns the keys to another object.
  if (Object.hasOwn(value, '__proto__')) Reflect.deleteProperty(value, '__proto__')
  for (const key in value) clean((value as Record<string, unknown>)[key], depth + 1)
}
