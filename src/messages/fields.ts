/**
 * Readers for the single fields of a submitted message. Input is hostile JSON; none of them throws. The first refusal is
 * kept in the reading and what follows may be read on or not, so that parse.ts stays a plain list of fields.
 * Hand-written: a schema library would cost more than the rest of the submission, and words its refusals its own way.
 */

/** Why a message was refused; `reason` is a sentence for a person, `code` is stable. */
export type RefusalCode = 'missing_field' | 'invalid_field' | 'invalid_message' | 'unknown_field' | 'message_too_large'

export interface Refusal {
  readonly code: RefusalCode
  /** The field as the client wrote it, with an index for list members; null: the message as a whole. */
  readonly field: string | null
  readonly reason: string
}

export interface Reading {
  readonly source: Readonly<Record<string, unknown>>
  /** Prefix of the field names in refusals: '' or `attachments[0].`. */
  readonly path: string
  refusal: Refusal | null
}

export function startReading(source: Readonly<Record<string, unknown>>, path = ''): Reading {
  return { source, path, refusal: null }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function refuse(reading: Reading, code: RefusalCode, field: string, reason: string): null {
  reading.refusal ??= { code, field: reading.path + field, reason }
  return null
}

export function refuseMissing(reading: Reading, field: string): null {
  return refuse(reading, 'missing_field', field, `missing ${reading.path}${field}`)
}

export function refuseInvalid(reading: Reading, field: string, problem: string): null {
  return refuse(reading, 'invalid_field', field, `invalid ${reading.path}${field}: ${problem}`)
}

// Lone surrogates go with the controls: they would become another character on the wire, and PostgreSQL refuses them.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\p{Cs}]/u

/** True when the text holds a control character (CR, LF and NUL among them) or half of a surrogate pair. */
export function isUnsafe(text: string): boolean {
  return UNSAFE.test(text)
}

/** A one-line text without control characters, at most `max` characters; null when absent, null or empty. */
export function lineField(reading: Reading, field: string, max: number): string | null {
  const value = reading.source[field]
  if (value === undefined || value === null || value === '') return null
  if (typeof value !== 'string') return refuseInvalid(reading, field, 'must be a string')
  if (value.length > max) return refuseInvalid(reading, field, `is longer than ${max} characters`)
  if (UNSAFE.test(value)) return refuseInvalid(reading, field, 'must not contain control characters')
  return value
}

/** Text of any length and content; null when absent or null. */
export function textField(reading: Reading, field: string): string | null {
  const value = reading.source[field]
  if (value === undefined || value === null) return null
  return typeof value === 'string' ? value : refuseInvalid(reading, field, 'must be a string')
}

/** True or false, also as old clients write it; null when absent or null. */
export function flagField(reading: Reading, field: string): boolean | null {
  const value = reading.source[field]
  if (value === undefined || value === null) return null
  if (value === true || value === 1 || value === 'true') return true
  return value === false || value === 0 || value === 'false'
    ? false
    : refuseInvalid(reading, field, 'must be true or false')
}

const NUMBER = /^\s*[+-]?\d{1,20}(\.\d{1,20})?\s*$/

/** A number, or a string that is one; null otherwise. */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  return typeof value === 'string' && NUMBER.test(value) ? Number(value) : null
}

/** 9999-12-31: what is later is almost surely milliseconds. */
const LAST_SECOND = 253_402_300_799

/** Unix seconds as epoch ms, rounded up so that "not before" is never early; null when absent or null. */
export function instantField(reading: Reading, field: string): number | null {
  const value = reading.source[field]
  if (value === undefined || value === null || value === '') return null
  const seconds = numberOf(value)
  if (seconds === null) return refuseInvalid(reading, field, 'must be Unix seconds')
  if (seconds > LAST_SECOND) return refuseInvalid(reading, field, 'must be Unix seconds, not milliseconds')
  return Math.max(0, Math.ceil(seconds * 1000))
}
