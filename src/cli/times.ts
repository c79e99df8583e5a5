/** Times on the command line: Unix seconds, a date, so long ago, or in so long. */
import { UsageError } from './errors.js'

/** Unix seconds; undefined stays so. Throws UsageError naming the flag. */
export function unixTime(flag: string, text: string | undefined, now = Date.now()): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{9,11}$/.test(text)) return Number(text)
  const ago = /^(\d{1,6}) ?(s|min|m|h|d|w)$/.exec(text)
  if (ago !== null) return Math.floor(now / 1000) - Number(ago[1]) * SECONDS[ago[2]!]!
  // Without a zone ECMAScript takes a date for UTC and a date with time for local; here both are local.
  const isDate = /^\d{4}-\d\d-\d\d$/.test(text)
  const at = Date.parse(isDate ? `${text}T00:00` : text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(at)) {
    throw new UsageError(
      `${flag} is "${text}": it should be Unix seconds, a date as in 2027-06-30T08:00, or as in 2h or 7d ago`,
    )
  }
  return Math.floor(at / 1000)
}

/** The same for what is to come: `+2h` is in two hours. */
export function timeToCome(flag: string, text: string | undefined, now = Date.now()): number | undefined {
  const ahead = /^\+(\d{1,6}) ?(s|min|m|h|d|w)$/.exec(text ?? '')
  if (ahead !== null) return Math.ceil(now / 1000) + Number(ahead[1]) * SECONDS[ahead[2]!]!
  if (text !== undefined && /^\d{1,6} ?(s|min|m|h|d|w)$/.test(text)) {
    throw new UsageError(`${flag} is "${text}", which is past: +${text} is so long from now`)
  }
  return unixTime(flag, text, now)
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 }
