/** The sealing of secrets at rest (AES-256-GCM, see seal.ts). `context` binds a value to its place, as associated data. */
export interface Sealer {
  /** Of the key that seals. A value names the key it was sealed with by this. */
  readonly keyId: string
  /** What the database keeps of that key; see keyCheckValue in seal.ts. */
  readonly keyCheck: string
  seal(plain: string, context: string): string
  /** Throws when the key is another or the value was altered; the error never holds content. */
  open(sealed: string, context: string): string
  /** The database has another key for sealing than this one thought: looks which. Rejects when it is not at hand. */
  renew(): Promise<void>
}
