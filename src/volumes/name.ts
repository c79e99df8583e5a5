/** What a volume may be called: the part before the colon of `name:path`. */

const NAME = /^[A-Za-z0-9_.-]{1,64}$/
/** What begins with these is content or a URL, and never asks for a volume. */
const TAKEN: ReadonlySet<string> = new Set(['base64', 'http', 'https'])

/** Why this is no name for a volume, as the end of a sentence; null: it is one. */
export function problemOfName(name: string): string | null {
  if (!NAME.test(name)) return 'must be 1 to 64 of A-Z a-z 0-9 _ . -'
  if (name === '.' || name === '..') return `"${name}" is no name`
  return TAKEN.has(name.toLowerCase()) ? `"${name}" means something else in a storage_path; choose another name` : null
}
