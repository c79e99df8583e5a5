/** Paths of files in a store: relative, `/` between segments, below the store's root whatever the backend. */
import { AttachmentFailure } from '../failure.js'

/** The segments of a path. Empty and `.` segments fall away; `..`, control characters and half characters are refused. */
export function segmentsOf(path: string): string[] {
  if (/[\x00-\x1f\x7f-\x9f]/.test(path)) throw new AttachmentFailure('its path has a control character', 'permanent')
  if (/\p{Surrogate}/u.test(path)) throw new AttachmentFailure('its path is no valid Unicode', 'permanent')
  const segments = path.split('/').filter(segment => segment !== '' && segment !== '.')
  if (segments.includes('..')) throw new AttachmentFailure('its path has a ".." segment', 'permanent')
  if (segments.length === 0) throw new AttachmentFailure('its path is empty', 'permanent')
  return segments
}

/** The name of an object: the prefix of the store's config and the path, both normalised, without a leading slash. */
export function keyOf(prefix: string | undefined, path: string): string {
  const above = prefix === undefined || /^[/.]*$/.test(prefix) ? [] : segmentsOf(prefix)
  return [...above, ...segmentsOf(path)].join('/')
}

/** The same, each segment percent-encoded for a URL. */
export function encodedKeyOf(prefix: string | undefined, path: string): string {
  return keyOf(prefix, path).split('/').map(encodeURIComponent).join('/')
}

/** `Content-Disposition` under which a browser saves the file, never shows it (RFC 6266, RFC 8187). */
export function savedAs(filename: string): string {
  const name = filename.replace(/[\x00-\x1f\x7f-\x9f]|\p{Surrogate}/gu, '')
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/g, '_')
  const encoded = encodeURIComponent(name).replace(/['()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`
}
