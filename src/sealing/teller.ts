/** Tells which sealing keys this process has, and notices new ones in its key file. For processes that share a PostgreSQL. */
import { randomInt } from 'node:crypto'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Step } from '../lib/loop.js'
import { forgetHolder, sayKeys } from './holders.js'
import type { Keyring } from './keyring.js'

export interface KeyTeller {
  /** Rejects with SealError when another key seals than those of this process. */
  say(): Promise<void>
  step(): Promise<Step>
  /** This process needs no key any more. */
  end(): Promise<void>
}

export interface KeyTellerDeps {
  readonly db: Db
  readonly clock: Clock
  readonly ring: Keyring
  /** Host and process, for people. */
  readonly holder: string
  steadyNow(): number
}

/** Longest time without telling, ms. */
const SAY_EVERY_MS = 20_000

export function createKeyTeller({ db, clock, ring, holder, steadyNow }: KeyTellerDeps): KeyTeller {
  const id = randomInt(1, 2 ** 47)
  let said = { keys: '', at: Number.NEGATIVE_INFINITY }
  const ids = () => ring.keys().map(key => key.keyId)

  const say = async () => {
    const keys = ids()
    const at = clock.monotonic()
    const check = await sayKeys(db, { id, holder, keys }, steadyNow())
    said = { keys: keys.join(' '), at }
    if (check !== ring.keyCheck) await ring.refresh()
  }

  return {
    say,
    async step() {
      try {
        await ring.refresh()
      } finally {
        // Also when the key file cannot be read: a process that is not heard of counts as ended, and this one works on.
        if (said.keys !== ids().join(' ') || clock.monotonic() >= said.at + SAY_EVERY_MS) await say()
      }
      return { nextAt: null, again: false }
    },
    async end() {
      await db.write([forgetHolder(id)])
    },
  }
}
