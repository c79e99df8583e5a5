/**
 * Things that are opened once and kept by key, so many at most. The one not used for longest goes first; one that is in
 * use then is closed when its last use ends, or a slow reader would lose it to others' first uses.
 */
import type { Readable } from 'node:stream'

export interface Kept<T> {
  /** In use until the work ends. */
  during<R>(key: string, open: () => T | Promise<T>, work: (thing: T) => Promise<R>): Promise<R>
  /** In use until the body that the work gives is closed. */
  reading<R extends { readonly body: Readable }>(
    key: string,
    open: () => T | Promise<T>,
    work: (thing: T) => Promise<R>,
  ): Promise<R>
  /** Closes all, in use or not. */
  close(): Promise<void>
}

interface Entry<T> {
  readonly opening: Promise<T>
  uses: number
}

export function createKept<T>(most: number, close: (thing: T) => unknown): Kept<T> {
  const kept = new Map<string, Entry<T>>()
  /** No longer kept, and still in use. */
  const leaving = new Set<Entry<T>>()

  const end = ({ opening }: Entry<T>) => opening.then(close).catch(() => {})

  const begin = (key: string, open: () => T | Promise<T>): { opening: Promise<T>; done: () => void } => {
    const known = kept.get(key)
    const entry = known ?? { opening: (async () => open())(), uses: 0 }
    entry.uses += 1
    // To the end of the line.
    kept.delete(key)
    kept.set(key, entry)
    if (known === undefined) {
      entry.opening.catch(() => kept.get(key) === entry && kept.delete(key))
      const [oldest] = kept
      if (kept.size > most && oldest !== undefined) {
        kept.delete(oldest[0])
        if (oldest[1].uses > 0) leaving.add(oldest[1])
        else void end(oldest[1])
      }
    }
    const done = () => {
      entry.uses -= 1
      if (entry.uses === 0 && leaving.delete(entry)) void end(entry)
    }
    return { opening: entry.opening, done }
  }

  return {
    async during(key, open, work) {
      const { opening, done } = begin(key, open)
      try {
        return await work(await opening)
      } finally {
        done()
      }
    },
    async reading(key, open, work) {
      const { opening, done } = begin(key, open)
      try {
        const given = await work(await opening)
        if (given.body.closed) done()
        else given.body.once('close', done)
        return given
      } catch (error) {
        done()
        throw error
      }
    },
    async close() {
      await Promise.all([...kept.values(), ...leaving].map(end))
    },
  }
}
