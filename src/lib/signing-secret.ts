/** Standard Webhooks secrets: `whsec_` and base64 of 24 to 64 bytes, as its specification asks for. */

/** The key; null for what is no secret. Buffer skips what is not base64, so that nonsense would become a short key. */
export function signingKey(secret: string): Buffer | null {
  const [, text] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? []
  if (text === undefined) return null
  const key = Buffer.from(text, 'base64')
  const isWhole = key.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '')
  return isWhole && key.length >= 24 && key.length <= 64 ? key : null
}
