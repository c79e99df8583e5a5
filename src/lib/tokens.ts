/**
 * Tokens of the admin and API keys of tenants: made from 256 random bits, kept as SHA-256 only. A plain hash is enough
 * because nobody can guess among 2^256; a slow one would cost every request.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

/** 43 characters of base64url, a dash not the first: on a command line that would be an option. */
export function newToken(): string {
  const token = randomBytes(32).toString('base64url')
  return token.startsWith('-') ? newToken() : token
}

/** SHA-256 in hexadecimal. */
export function hashToken(token: string): string {
  return hash('sha256', token)
}

/** Compares two hashes in constant time; false when their lengths differ. */
export function equalHashes(a: string, b: string): boolean {
  const left = Buffer.from(a, 'utf8')
  const right = Buffer.from(b, 'utf8')
  return left.length === right.length && timingSafeEqual(left, right)
}
