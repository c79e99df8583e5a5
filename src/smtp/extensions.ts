/** What a server announced in its answer to EHLO (RFC 5321 §4.1.1.1). */
import { remember } from '../lib/remember.js'

/** As far as logins care. */
export interface Offer {
  readonly startTls: boolean
  /** The mechanisms of AUTH, upper case. */
  readonly mechanisms: ReadonlySet<string>
  readonly extensions: Extensions
}

/** As far as transactions care. */
export interface Extensions {
  readonly pipelining: boolean
  readonly eightBitMime: boolean
  readonly smtpUtf8: boolean
  readonly size: boolean
  /** Largest message in octets (RFC 1870); 0: no limit announced. */
  readonly maxSizeBytes: number
}

const MOST_OFFERS = 1_000
const LONGEST_OFFER = 4_096

/** Few kinds of server say the same again and again; read each time it was 7 KB of garbage a connection. */
const offerIn = remember(
  (text): Offer => {
    const lines = text.split('\n')
    return {
      startTls: offersStartTls(lines),
      mechanisms: parseAuthMechanisms(lines),
      extensions: parseExtensions(lines),
    }
  },
  MOST_OFFERS,
  LONGEST_OFFER,
)

/** `lines`, here and below: the EHLO answer's lines after the first, without their codes. */
export function readOffer(lines: readonly string[]): Offer {
  return offerIn(lines.join('\n'))
}

export function parseExtensions(lines: readonly string[]): Extensions {
  const offered = new Map<string, string>()
  for (const line of lines) {
    const [keyword = '', ...parameters] = line.trim().split(/\s+/)
    offered.set(keyword.toUpperCase(), parameters.join(' '))
  }
  const size = offered.get('SIZE')
  return {
    pipelining: offered.has('PIPELINING'),
    eightBitMime: offered.has('8BITMIME'),
    smtpUtf8: offered.has('SMTPUTF8'),
    size: size !== undefined,
    maxSizeBytes: size !== undefined && /^\d{1,15}$/.test(size) ? Number(size) : 0,
  }
}

export function offersStartTls(lines: readonly string[]): boolean {
  return lines.some(line => line.trim().toUpperCase() === 'STARTTLS')
}

/** The AUTH mechanisms offered, upper case; `AUTH=` is the spelling of servers older than RFC 4954. */
export function parseAuthMechanisms(lines: readonly string[]): Set<string> {
  const mechanisms = new Set<string>()
  for (const line of lines) {
    const [keyword = '', ...names] = line
      .trim()
      .toUpperCase()
      .split(/[\s=]+/)
    if (keyword === 'AUTH') for (const name of names) mechanisms.add(name)
  }
  return mechanisms
}
