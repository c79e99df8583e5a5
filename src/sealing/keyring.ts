/**
 * The keys of this process. All of them open; the one whose check value stands in the database seals, whatever the order
 * they were given in. Keys may come while the process runs (the key file is read again) and stay until it ends: what
 * was sealed with an old key may be in memory for long.
 */
import { deriveLinkKey, type LinkKeys } from '../attachments/offload/link.js'
import type { Db } from '../db/db.js'
import { createSealer, keyCheckValue, SealError, sealedWith } from '../lib/seal.js'
import type { Sealer } from '../lib/sealer.js'
import { readLinkKeys } from './link-keys.js'
import { readKeyCheck } from './rotation.js'

export interface RingKey extends Sealer {
  /** Signs links to files. */
  readonly linkKey: Buffer
}

export interface Keyring extends Sealer {
  readonly linkKeys: LinkKeys
  /** In the order given: the newest last. Never empty. */
  keys(): readonly RingKey[]
  /** By check value: among the keys that were ever given to this process. */
  has(keyCheck: string): boolean
  /** Reads the keys and what the database says of them. Rejects with SealError when the one that seals is not among them. */
  refresh(): Promise<void>
}

/**
 * `load`: the keys as they are given now, at least one. Nothing seals before `refresh` has come through. Keys of old
 * links that do not open are told to `onUnreadableLinks` and left out, so that they hold nothing up.
 */
export function createKeyring(
  db: Db,
  load: () => readonly Buffer[],
  onUnreadableLinks: (error: SealError) => void = () => {},
): Keyring {
  let order: readonly RingKey[] = []
  const byId = new Map<string, RingKey>()
  let active: RingKey | null = null
  let oldLinkKeys: readonly Buffer[] = []
  let areLinksUnreadable = false

  const take = (key: Buffer): RingKey => {
    const made = createSealer(key)
    const known = byId.get(made.keyId)
    if (known !== undefined && known.keyCheck !== keyCheckValue(key)) {
      throw new SealError(`two keys have the same id ${made.keyId}: make another one`)
    }
    if (known !== undefined) return known
    const ringKey = { ...made, linkKey: deriveLinkKey(key) }
    byId.set(made.keyId, ringKey)
    return ringKey
  }
  const sealing = (): RingKey => {
    if (active === null) throw new SealError(KEY_NOT_HERE)
    return active
  }

  const refreshLinkKeys = async () => {
    try {
      oldLinkKeys = await readLinkKeys(db, ring)
      areLinksUnreadable = false
    } catch (error) {
      if (!(error instanceof SealError)) throw error
      // Asked every few seconds, it would say so as often.
      if (!areLinksUnreadable) onUnreadableLinks(error)
      areLinksUnreadable = true
    }
  }

  const ring: Keyring = {
    get keyId() {
      return sealing().keyId
    },
    get keyCheck() {
      return sealing().keyCheck
    },
    seal: (plain, context) => sealing().seal(plain, context),
    open: (sealed, context) => (byId.get(sealedWith(sealed) ?? '') ?? sealing()).open(sealed, context),
    keys: () => order,
    has: keyCheck => [...byId.values()].some(key => key.keyCheck === keyCheck),
    linkKeys: {
      current: () => sealing().linkKey,
      all: () => [...[...byId.values()].map(key => key.linkKey).reverse(), ...oldLinkKeys],
    },
    async refresh() {
      order = load().map(take)
      const check = await readKeyCheck(db)
      const found = [...byId.values()].find(key => key.keyCheck === check)
      if (found === undefined) throw new SealError(KEY_NOT_HERE)
      active = found
      await refreshLinkKeys()
    },
    renew: () => ring.refresh(),
  }
  return ring
}

/** Goes on with the old one: what it seals is kept out by the fence, and what others have sealed it cannot open. */
export const KEY_NOT_HERE = 'the key that seals secrets in this database is not among those of this process'
