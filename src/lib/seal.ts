/**
 * Sealing of secrets at rest: AES-256-GCM, one random nonce a value. A sealed text reads
 * `ENC:<key id>:<base64 of nonce, tag, ciphertext>` and opens only under the same key and the same context, so a value
 * copied into another row is of no use.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import type { Sealer } from './sealer.js'

const PREFIX = 'ENC'
export const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The sealed value cannot be opened: another key, another place, or altered. Holds no content. */
export class SealError extends Error {
  override name = 'SealError'
}

/** Throws RangeError when the key is not 32 bytes. */
export function createSealer(key: Buffer): Sealer {
  if (key.length !== KEY_BYTES) throw new RangeError(`a sealing key has ${KEY_BYTES} bytes, not ${key.length}`)
  const own = Buffer.from(key)
  const keyId = keyIdOf(own)
  return {
    keyId,
    keyCheck: keyCheckValue(own),
    seal(plain, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', own, nonce, { authTagLength: TAG_BYTES })
      cipher.setAAD(associated(keyId, context))
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()])
      return `${PREFIX}:${keyId}:${Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64')}`
    },
    open(sealed, context) {
      const [prefix, id, data, ...rest] = sealed.split(':')
      if (prefix !== PREFIX || id === undefined || data === undefined || rest.length > 0) {
        throw new SealError(`the stored secret of ${context} is not a sealed value`)
      }
      if (id !== keyId) {
        // The id was stored by us but may have been altered since: it is not repeated.
        throw new SealError(`the stored secret of ${context} was sealed with another key than ${keyId}`)
      }
      const bytes = Buffer.from(data, 'base64')
      if (bytes.length < NONCE_BYTES + TAG_BYTES) throw altered(context)
      try {
        const nonce = bytes.subarray(0, NONCE_BYTES)
        const decipher = createDecipheriv('aes-256-gcm', own, nonce, { authTagLength: TAG_BYTES })
        decipher.setAAD(associated(keyId, context))
        decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES))
        const body = bytes.subarray(NONCE_BYTES + TAG_BYTES)
        return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8')
      } catch {
        throw altered(context)
      }
    },
    async renew() {
      throw new SealError('the database has another key for sealing secrets')
    },
  }
}

/** Eight hexadecimal digits that name a key and tell nothing about it. */
export function keyIdOf(key: Buffer): string {
  return derive(key, 'genro-mail-proxy key id').slice(0, 8)
}

/** The id of the key that a sealed value names; null: it is no sealed value. */
export function sealedWith(text: string): string | null {
  return isSealed(text) ? text.slice(PREFIX.length + 1, PREFIX.length + 9) : null
}

/** True for a text that seal() made; a value from before sealing is not. */
export function isSealed(text: string): boolean {
  return /^ENC:[0-9a-f]{8}:[A-Za-z0-9+/]+=*$/.test(text)
}

/**
 * What the database keeps to tell whether a process has the key that its secrets were sealed with. One-way: it tells
 * nothing about the key and opens nothing.
 */
export function keyCheckValue(key: Buffer): string {
  return derive(key, 'genro-mail-proxy key check')
}

function derive(key: Buffer, purpose: string): string {
  return createHmac('sha256', key).update(purpose).digest('hex')
}

function associated(keyId: string, context: string): Buffer {
  return Buffer.from(`${PREFIX}:${keyId}:${context}`, 'utf8')
}

function altered(context: string): SealError {
  return new SealError(`the stored secret of ${context} was altered or belongs elsewhere`)
}
