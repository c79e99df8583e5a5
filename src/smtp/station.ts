/**
 * One account's share of the pool: how many sends hold a connection, who waits for a turn, and which logged-in
 * connections are idle. Taken last in, first out: the rest grow old and go.
 */
import { watchAbort } from './abort-watch.js'
import type { Session } from './session.js'

export interface Pooled {
  readonly session: Session
  readonly accountKey: number
  /** Everything that shaped the connection; only a send that asks for the same may use it. */
  readonly shape: string
  /** Monotonic milliseconds after which it is not used again. */
  idleUntil: number
}

export class Station {
  private inUse = 0
  private readonly waiting: Array<() => void> = []
  private readonly kept: Pooled[] = []

  get idle(): number {
    return this.kept.length
  }

  get isEmpty(): boolean {
    return this.inUse === 0 && this.waiting.length === 0 && this.kept.length === 0
  }

  /** Takes a turn if there is one now; who comes later does not overtake who waits. */
  enterNow(max: number): boolean {
    if (this.inUse >= max || this.waiting.length > 0) return false
    this.inUse++
    return true
  }

  /** Waits for a turn, first in, first out. Rejects with the signal's reason. */
  enter(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      const go = () => {
        unwatch()
        resolve()
      }
      const unwatch = watchAbort(signal, () => {
        this.waiting.splice(this.waiting.indexOf(go), 1)
        unwatch()
        reject(signal.reason)
      })
      this.waiting.push(go)
    })
  }

  /** Gives the turn back, or on to the first who waits. */
  leave(): void {
    const next = this.waiting.shift()
    if (next === undefined) this.inUse--
    else next()
  }

  put(pooled: Pooled): void {
    this.kept.push(pooled)
  }

  /** The newest usable connection of this shape. Those found unfit on the way are handed to `retire`. */
  take(shape: string, now: number, retire: (pooled: Pooled) => void): Pooled | null {
    for (let pooled = this.kept.pop(); pooled !== undefined; pooled = this.kept.pop()) {
      if (pooled.shape === shape && pooled.idleUntil > now && pooled.session.isReusable) return pooled
      retire(pooled)
    }
    return null
  }

  /** Forgets a connection that ended by itself; true when it was idle here. */
  remove(pooled: Pooled): boolean {
    const at = this.kept.indexOf(pooled)
    if (at !== -1) this.kept.splice(at, 1)
    return at !== -1
  }

  /** Removes and answers the idle connections that are past their time. */
  takeExpired(now: number): Pooled[] {
    const expired = this.kept.filter(({ idleUntil }) => idleUntil <= now)
    for (const pooled of expired) this.remove(pooled)
    return expired
  }
}
