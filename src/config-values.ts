/**
 * The kinds of value a setting can have: how its text is read and what would be right. Pure; a text that does not fit
 * gives `undefined` and the loader makes the error, so that every wrong setting is reported in the same words.
 */

import { Buffer } from 'node:buffer'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { urlOf } from './lib/url.js'

export interface ValueKind<T> {
  /** Ends the sentence "… should be ". */
  readonly expects: string
  parse(text: string): T | undefined
  /** config.ini only: a relative path means relative to the instance folder. */
  readonly isPath?: true
}

interface Range {
  readonly min: number
  readonly max: number
}

/** A whole number; `times` turns the unit written into the unit kept (MB into bytes). */
export function wholeNumber(unit: string, { min, max }: Range, times = 1): ValueKind<number> {
  return {
    expects: `a whole number${unit === '' ? '' : ` of ${unit}`} from ${min} to ${max}`,
    parse(text) {
      const number = Number(text)
      return /^\d{1,15}$/.test(text) && number >= min && number <= max ? number * times : undefined
    },
  }
}

/** 0: any. Of the ports that clients by the Fetch standard (browsers, Node) refuse to call, those above 1023. */
export const port: ValueKind<number> = {
  expects: 'a whole number from 0 to 65535 (not one that browsers refuse, as 6000)',
  parse(text) {
    const number = wholeNumber('', { min: 0, max: 65_535 }).parse(text)
    return number === undefined || UNCALLABLE.has(number) ? undefined : number
  },
}

// https://fetch.spec.whatwg.org/#port-blocking
const UNCALLABLE: ReadonlySet<number> = new Set([
  1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10_080,
])

/** Seconds, fractions allowed; kept as milliseconds. */
export function seconds({ min, max }: Range): ValueKind<number> {
  return { expects: `seconds from ${min} to ${max}`, parse: text => toMs(text, { min, max }) }
}

/** Comma-separated seconds; kept as milliseconds. */
export function secondsList({ min, max }: Range): ValueKind<readonly number[]> {
  return {
    expects: `one to 20 comma-separated numbers of seconds from ${min} to ${max}, as in 60,300,900`,
    parse(text) {
      const list = text.split(',').map(each => toMs(each.trim(), { min, max }))
      return list.length <= 20 && list.every(each => each !== undefined) ? list : undefined
    },
  }
}

/** `name:value` pairs, comma-separated, for some of `names`; the value is of the other kind. */
export function byName<N extends string, T>(names: readonly N[], kind: ValueKind<T>): ValueKind<Partial<Record<N, T>>> {
  return {
    expects: `pairs like ${names[0]}:…,${names[1]}:…, each of ${names.join(', ')} with ${kind.expects}`,
    parse(text) {
      const found: Partial<Record<N, T>> = {}
      for (const pair of text.split(',')) {
        const [name = '', value = ''] = pair.split(':').map(part => part.trim())
        const known = names.find(each => each === name)
        const parsed = kind.parse(value)
        if (known === undefined || parsed === undefined || pair.split(':').length !== 2) return undefined
        found[known] = parsed
      }
      return found
    },
  }
}

export const yesNo: ValueKind<boolean> = {
  expects: 'true or false',
  parse(text) {
    if (/^(true|1|yes|on)$/i.test(text)) return true
    return /^(false|0|no|off)$/i.test(text) ? false : undefined
  },
}

/** One of the values, in any case; `aliases` are other spellings of them. */
export function oneOf<T extends string>(values: readonly T[], aliases: Readonly<Record<string, T>> = {}): ValueKind<T> {
  return {
    expects: `one of ${values.join(', ')}`,
    parse(text) {
      const wanted = text.toLowerCase()
      return values.find(value => value === wanted) ?? (Object.hasOwn(aliases, wanted) ? aliases[wanted] : undefined)
    },
  }
}

const PRIORITIES = ['immediate', 'high', 'medium', 'low']

export const priority: ValueKind<0 | 1 | 2 | 3> = {
  expects: `0 to 3, or one of ${PRIORITIES.join(', ')}`,
  parse(text) {
    const number = /^[0-3]$/.test(text) ? Number(text) : PRIORITIES.indexOf(text.toLowerCase())
    return number === -1 ? undefined : (number as 0 | 1 | 2 | 3)
  },
}

export const plainText: ValueKind<string> = {
  expects: 'text without control characters',
  parse: text => (hasControl(text) ? undefined : text),
}

/** A token that must fit into an HTTP header. */
export const headerToken: ValueKind<string> = {
  expects: '1 to 512 printable ASCII characters without spaces',
  parse: text => (/^[\x21-\x7e]{1,512}$/.test(text) ? text : undefined),
}

export const filePath: ValueKind<string> = {
  expects: 'a path',
  parse: text => (hasControl(text) ? undefined : text),
  isPath: true,
}

export const hostName: ValueKind<string> = {
  expects: 'a host name or an IP address',
  parse: text =>
    isIP(text) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\.?$/.test(text) ? text : undefined,
}

export const httpUrl: ValueKind<string> = {
  expects: 'a URL that begins with http:// or https://, without user name and password',
  parse(text) {
    if (!/^https?:\/\//i.test(text) || hasControl(text)) return undefined
    const url = urlOf(text)
    return url?.username === '' && url.password === '' ? text : undefined
  },
}

/** A SQLite file or a PostgreSQL URL. An in-memory database would break the promise to keep what was accepted. */
export const databaseUrl: ValueKind<string> = {
  expects: 'a file path for SQLite, or postgresql://user:password@host/database',
  parse(text) {
    if (hasControl(text)) return undefined
    if (isPostgres(text)) return urlOf(text) === null ? undefined : text
    return /^([a-z][a-z0-9+]*:\/\/|file:|:memory:)/i.test(text) ? undefined : text
  },
  isPath: true,
}

export function isPostgres(url: string): boolean {
  return /^postgres(ql)?:\/\//i.test(url)
}

export const timezone: ValueKind<string> = {
  expects: 'a time zone, as in Europe/Rome or UTC',
  parse(text) {
    try {
      return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone
    } catch {
      return undefined
    }
  },
}

/** Comma-separated networks in CIDR form; a single address is a network of one. */
export const networks: ValueKind<readonly string[]> = {
  expects: 'comma-separated networks, as in 10.0.0.0/8,192.168.1.5,fd00::/8',
  parse(text) {
    const list = text.split(',').map(each => toNetwork(each.trim()))
    return list.every(each => each !== undefined) ? list : undefined
  },
}

/** One, or several with commas or white space between them. */
export const encryptionKeys: ValueKind<readonly Buffer[]> = {
  expects: '32 bytes, as 64 hexadecimal digits or as base64 (openssl rand -base64 32), or several of these with commas',
  parse(text) {
    const keys = text.split(/[\s,]+/).map(toKey)
    return keys.length <= 10 && keys.every(key => key !== undefined) ? keys : undefined
  },
}

function toKey(text: string): Buffer | undefined {
  // 64 hexadecimal digits are base64 too, of 48 bytes: the length tells the two apart.
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  return /^[A-Za-z0-9+/_-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : undefined
}

function toMs(text: string, { min, max }: Range): number | undefined {
  const number = Number(text)
  return /^(\d{1,12}(\.\d{1,6})?|\.\d{1,6})$/.test(text) && number >= min && number <= max
    ? Math.round(number * 1000)
    : undefined
}

function toNetwork(text: string): string | undefined {
  // ipaddr.js also takes 10.1 and 0x7f000001, which nobody means in a list of exceptions.
  const [address = '', bits] = text.split('/')
  const family = isIP(address)
  if (family === 0) return undefined
  const cidr = bits === undefined ? `${address}/${family === 4 ? 32 : 128}` : text
  return ipaddr.isValidCIDR(cidr) ? cidr : undefined
}

function hasControl(text: string): boolean {
  return /[\x00-\x1f\x7f-\x9f]/.test(text)
}
