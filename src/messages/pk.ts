/** The 22 characters by which a message row is known on the wire: 'Z', then time and number in base62, so that they sort. */

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** Good until the year 8888. */
const TIME_DIGITS = 8
const SEQ_DIGITS = 13

/** Derived and not stored: created_at never changes and seq is never used twice. `createdAt` in epoch ms. */
export function pkOf(createdAt: number, seq: number): string {
  return `Z${base62(createdAt, TIME_DIGITS)}${base62(seq, SEQ_DIGITS)}`
}

function base62(value: number, digits: number): string {
  let text = ''
  for (let rest = value; text.length < digits; rest = Math.floor(rest / 62)) text = DIGITS[rest % 62] + text
  return text
}
