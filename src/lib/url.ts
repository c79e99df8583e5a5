/**
 * URLs of texts that may be none. Not by `URL.canParse`: on Node 20 and 22, once V8 has compiled its caller, that refuses
 * whatever has a letter like é or ü (after some thousand calls; Node 24 does not).
 */

/** null: the text is none. */
export function urlOf(text: string, base?: URL): URL | null {
  try {
    return new URL(text, base)
  } catch {
    return null
  }
}

/** Scheme, host and port; null: the text is no URL, or there is none. */
export function originOf(text: string | null): string | null {
  return text === null ? null : (urlOf(text)?.origin ?? null)
}
