/**
 * Wake hints to the loops of this process and, by NOTIFY, to those of the others. Hints of a moment go out together:
 * a thousand requests a second must not become a thousand notifications.
 */
import type { Db } from '../db/db.js'
import { firstOfEach, type Ready, type Wake } from '../lib/wake.js'

export interface LocalWake {
  queue(ready: readonly Ready[]): void
  reports(tenantIds: readonly string[]): void
  runNow(tenantId: string | null): void
  settingsChanged(): void
}

/** accountKey, priority, seq, onward. */
type Tuple = readonly [number, number, number, boolean]

type Hint =
  | { readonly of: 'queue'; readonly ready: readonly Tuple[] }
  | { readonly of: 'run-now'; readonly tenant: string | null }
  | { readonly of: 'settings' }

const GATHER_MS = 20
/** NOTIFY carries 8,000 bytes. */
const IN_ONE = 200
/** What is more than this is found by polling. */
const MOST_READY = 800

export function createWake(db: Db, local: LocalWake, bump: () => Promise<void>, onError: (error: Error) => void): Wake {
  let gathered: Ready[] = []
  let timer: NodeJS.Timeout | null = null

  const send = () => {
    timer = null
    const ready = firstOfEach(gathered).sort((a, b) => a.priority - b.priority)
    // Also where there is nothing to name: something was scheduled.
    for (let at = 0; at === 0 || at < Math.min(ready.length, MOST_READY); at += IN_ONE) {
      tell({ of: 'queue', ready: ready.slice(at, at + IN_ONE).map(toTuple) })
    }
    gathered = []
  }
  const tell = (hint: Hint) => db.notify(JSON.stringify(hint))

  db.onNotify(payload => {
    const hint = parse(payload)
    if (hint?.of === 'queue') local.queue(hint.ready.map(fromTuple))
    else if (hint?.of === 'run-now') local.runNow(hint.tenant)
    else if (hint?.of === 'settings') local.settingsChanged()
  })

  return {
    queue(ready) {
      local.queue(ready)
      if (db.dialect === 'sqlite') return
      gathered.push(...ready)
      if (timer === null) timer = setTimeout(send, GATHER_MS)
    },
    reports: tenantIds => local.reports(tenantIds),
    runNow(tenantId) {
      local.runNow(tenantId)
      tell({ of: 'run-now', tenant: tenantId })
    },
    async settings() {
      local.settingsChanged()
      try {
        await bump()
      } catch (error) {
        return onError(error as Error)
      }
      local.settingsChanged()
      tell({ of: 'settings' })
    },
  }
}

function toTuple({ accountKey, priority, seq, onward }: Ready): Tuple {
  return [accountKey, priority, seq, onward]
}

function fromTuple([accountKey, priority, seq, onward]: Tuple): Ready {
  return { accountKey, priority, seq, onward }
}

/** null: someone else's notification on our channel, or one of another version. */
function parse(payload: string): Hint | null {
  try {
    const hint = JSON.parse(payload) as Hint | null
    return hint?.of === 'queue' && !Array.isArray(hint.ready) ? null : hint
  } catch {
    return null
  }
}
