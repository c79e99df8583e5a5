/**
 * Links to files that were put out of their mails: `<base>/<id>/<filename>?expires=<unix>&signature=<hmac>`. Whoever has
 * one may fetch that file until then, and nothing can be changed in it. All instances derive the same key.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'

/** One file, as a link names it. */
export interface LinkedPath {
  readonly id: string
  /** As it stands in the path, decoded. */
  readonly filename: string
  /** Unix seconds. */
  readonly expires: number
}

/** What signs links, and tells those it has signed: also those signed before the key was replaced. */
export interface LinkKeys {
  /** For new links. */
  current(): Buffer
  all(): readonly Buffer[]
}

/** From the key that seals secrets, so that nothing more has to be kept (HKDF, RFC 5869). */
export function deriveLinkKey(sealingKey: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', sealingKey, Buffer.alloc(0), 'genro-mail-proxy file links', 32))
}

/** `base` without a slash at its end. */
export function signedLink(base: string, path: LinkedPath, key: Buffer): string {
  const { id, filename, expires } = path
  return `${base}/${id}/${encoded(filename)}?expires=${expires}&signature=${signatureOf(path, key)}`
}

/** Signed with one of the keys. Takes the same time for every signature of the right length. */
export function isSigned(path: LinkedPath, signature: string, keys: readonly Buffer[]): boolean {
  const given = Buffer.from(signature)
  const fits = keys.map(key => {
    const right = Buffer.from(signatureOf(path, key))
    return given.length === right.length && timingSafeEqual(given, right)
  })
  return fits.includes(true)
}

/** Part of a path and of a URL that nobody has to quote; the recipient's reader saves it under the true name. */
export function safeFilename(filename: string): string {
  const clean = filename
    .normalize('NFC')
    .replace(/[^\p{L}\p{N}\p{M}._-]+/gu, '_')
    .replace(/(?<!_)_+(?=\.|$)/g, '')
    .replace(/^[._]+/, '')
  if (clean === '') return 'file'
  const dot = clean.lastIndexOf('.')
  const extension = dot > 0 && clean.length - dot <= 12 ? clean.slice(dot) : ''
  // File systems take 255 octets a name; cut between characters.
  let stem = ''
  for (const character of clean.slice(0, clean.length - extension.length)) {
    if (Buffer.byteLength(stem + character) > MOST_STEM) break
    stem += character
  }
  return `${stem}${extension}`
}

const MOST_STEM = 120

function signatureOf({ id, filename, expires }: LinkedPath, key: Buffer): string {
  return createHmac('sha256', key)
    .update(JSON.stringify([id, filename, expires]))
    .digest('base64url')
}

function encoded(filename: string): string {
  return encodeURIComponent(filename).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}
