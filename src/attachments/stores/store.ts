/**
 * The Store port: one place where files lie, for volumes (read) and for large files put out as links (write, remove,
 * link). Each backend is a file beside this one and imports its official client only when it is opened.
 */
import type { Readable } from 'node:stream'
import type { NetworkGuard } from '../../lib/network-guard.js'

export const BACKENDS = ['s3', 'http', 'webdav', 'local', 'gcs', 'azure'] as const
export type Backend = (typeof BACKENDS)[number]

export function isBackend(name: string): name is Backend {
  return (BACKENDS as readonly string[]).includes(name)
}

export interface StoredFile {
  /** Octets as the store announces them; null: it does not. */
  readonly sizeBytes: number | null
  /** Destroying it ends the transfer. */
  readonly body: Readable
}

export interface NewFile {
  readonly path: string
  readonly sizeBytes: number
  readonly mimeType: string
  /** Name a browser saves it under. */
  readonly filename: string
  /** May be called again when the first try failed. */
  open(): Readable
}

export interface Store {
  /** Opens one file by its path below the store's root. Throws AttachmentFailure. */
  get(path: string, signal: AbortSignal): Promise<StoredFile>
  /** Writes a file, whole or not at all. Throws AttachmentFailure. */
  put(file: NewFile, signal: AbortSignal): Promise<void>
  /** Removes a file; one that is not there is no failure. */
  remove(path: string, signal: AbortSignal): Promise<void>
  /** A link that anybody may follow until `expiresAt` (epoch ms) at most; null: this backend makes none. */
  link(path: string, filename: string, expiresAt: number): Promise<string | null>
  /** Ends kept connections. */
  close(): void
}

/** No store signs a link for longer: S3 (SigV4) and Google take no more, and Azure is kept to the same. */
export const MAX_LINK_MS = 7 * 24 * 3600 * 1000

/** Whose store it is decides what it may reach (spec section 9). */
export interface StoreAccess {
  /** Every address it connects to is judged by this; null: an admin set it, it is trusted. */
  readonly guard: NetworkGuard | null
  /** False: only the credentials written in the config, never those of the machine. */
  readonly ambient: boolean
  /** For connecting and between two pieces, ms. */
  readonly timeoutMs: number
}
