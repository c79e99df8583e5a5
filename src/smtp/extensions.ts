/** What a server announced in its answer to EHLO (RFC 5321 §4.1.1.1), as far as transactions care. */

export interface Extensions {
  readonly pipelining: boolean
  readonly eightBitMime: boolean
  readonly smtpUtf8: boolean
  readonly size: boolean
  /** Largest message in octets (RFC 1870); 0: no limit announced. */
  readonly maxSizeBytes: number
}

/** `lines`, here and below: the EHLO answer's lines after the first, without their codes. */
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
