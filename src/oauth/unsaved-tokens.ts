/**
 * Tokens that the database could not take: the refresh token in one may be the only one that is still good. Kept in
 * memory, in place of what the database has, and written when it is back or, at the latest, when the service stops.
 */
import { DatabaseUnavailable } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { KeptRow, KeptToken, TokenPlace, TokenStore } from './token-store.js'

export interface UnsavedTokens {
  /** Resolves when the token is durable, or kept here because the database is away. */
  save(place: TokenPlace, version: number, token: KeptToken): Promise<void>
  /** The row as it would be: what waits here counts, unless another instance has written since. */
  over(place: TokenPlace, row: KeptRow | null): KeptToken | null
  close(): Promise<void>
}

interface Waiting {
  readonly place: TokenPlace
  readonly version: number
  readonly token: KeptToken
}

const FIRST_MS = 1_000
const MAX_MS = 60_000

export function createUnsavedTokens(
  store: Pick<TokenStore, 'put'>,
  clock: Clock,
  failed: (place: TokenPlace, error: Error) => void,
): UnsavedTokens {
  const waiting = new Map<number, Waiting>()
  const closing = new AbortController()

  const put = ({ place, version, token }: Waiting) => store.put(place, version, token)

  const tryAgain = async (entry: Waiting): Promise<void> => {
    const { place } = entry
    for (let waitMs = FIRST_MS; ; waitMs = Math.min(MAX_MS, waitMs * 2)) {
      await clock.sleep(waitMs, closing.signal)
      // A newer one took its place, or close() sees to it.
      if (closing.signal.aborted || waiting.get(place.key) !== entry) return
      try {
        await put(entry)
      } catch (error) {
        if (error instanceof DatabaseUnavailable) continue
        failed(place, error as Error)
      }
      if (waiting.get(place.key) === entry) waiting.delete(place.key)
      return
    }
  }

  return {
    async save(place, version, token) {
      const entry = { place, version, token }
      try {
        await put(entry)
        waiting.delete(place.key)
      } catch (error) {
        if (!(error instanceof DatabaseUnavailable)) throw error
        waiting.set(place.key, entry)
        void tryAgain(entry)
      }
    },
    over({ key }, row) {
      const mine = waiting.get(key)
      return mine !== undefined && mine.version >= (row?.version ?? 0) ? mine.token : (row?.token ?? null)
    },
    async close() {
      closing.abort()
      for (const entry of waiting.values()) await put(entry).catch((error: Error) => failed(entry.place, error))
    },
  }
}
