/** Priorities as clients write them: 0–3, the numbers as strings, or words. */
import { numberOf } from './fields.js'
import type { Priority } from './message.js'

const WORDS: ReadonlyMap<string, Priority> = new Map([
  ['immediate', 0],
  ['high', 1],
  ['medium', 2],
  ['low', 3],
])

/** The priority meant, numbers clamped to 0–3; null when it is none. */
export function priorityOf(value: unknown): Priority | null {
  if (value === 0 || value === 1 || value === 2 || value === 3) return value
  const word = typeof value === 'string' ? WORDS.get(value.trim().toLowerCase()) : undefined
  if (word !== undefined) return word
  const number = numberOf(value)
  return number === null ? null : (Math.min(3, Math.max(0, Math.trunc(number))) as Priority)
}
