/** The sealing of secrets at rest (AES-256-GCM, see seal.ts). `context` binds a value to its place, as associated data. */
export interface Sealer {
  readonly keyId: string
  seal(plain: string, context: string): string
  /** Throws when the key is another or the value was altered; the error never holds content. */
  open(sealed: string, context: string): string
}
