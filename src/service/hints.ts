/**
 * Wake hints to the loops of this process and, by NOTIFY, to those of the others. Hints of a moment go out together:
 * a thousand requests a second must not become a thousand notifications.
 */
import type { Db } from '../db/db.js'
import type { Wake } from '../lib/wake.js'

export interface LocalWake {
  queue(accountKeys: readonly number[], priority: number): void
  reports(tenantIds: readonly string[]): void
  runNow(tenantId: string | null): void
  settingsChanged(): void
}

type Hint =
  | { readonly of: 'queue'; readonly keys: readonly number[]; readonly priority: number }
  | { readonly of: 'run-now'; readonly tenant: string | null }
  | { readonly of: 'settings' }

const GATHER_MS = 20
/** NOTIFY carries 8,000 bytes; more accounts than this find their way by polling. */
const MOST_KEYS = 500

export function createWake(db: Db, local: LocalWake, bump: () => Promise<void>, onError: (error: Error) => void): Wake {
  const keys = new Set<number>()
  let priority = 3
  let timer: NodeJS.Timeout | null = null

  const send = () => {
    timer = null
    tell({ of: 'queue', keys: [...keys].slice(0, MOST_KEYS), priority })
    keys.clear()
    priority = 3
  }
  const tell = (hint: Hint) => db.notify(JSON.stringify(hint))

  db.onNotify(payload => {
    const hint = parse(payload)
    if (hint?.of === 'queue') local.queue(hint.keys, hint.priority)
    else if (hint?.of === 'run-now') local.runNow(hint.tenant)
    else if (hint?.of === 'settings') local.settingsChanged()
  })

  return {
    queue(accountKeys, urgent) {
      local.queue(accountKeys, urgent)
      if (db.dialect === 'sqlite') return
      for (const key of accountKeys) keys.add(key)
      priority = Math.min(priority, urgent)
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

function parse(payload: string): Hint | null {
  try {
    return JSON.parse(payload) as Hint
  } catch {
    // Someone else's notification on our channel.
    return null
  }
}
