/**
 * Hints that something may have become possible. Every loop is correct by polling alone; a hint only spares the wait.
 * Hints reach the other processes of a shared database too, where it can carry them.
 */
export interface Wake {
  /** Messages became ready, or were scheduled, of which there is nothing to name. */
  queue(ready: readonly Ready[]): void
  /** New report entries of these tenants. */
  reports(tenantIds: readonly string[]): void
  /** An operator asked to dispatch and report now; null: all tenants. */
  runNow(tenantId: string | null): void
  /**
   * Tenants, accounts, rules or the scheduler's switch changed: what is cached of them is stale. Resolves when the other
   * processes cannot miss it any more, so whoever confirms a change waits for it; never rejects.
   */
  settings(): Promise<void>
}

/** Messages of one account that may be ready: of this priority, from this place in the queue on. */
export interface Ready {
  readonly accountKey: number
  readonly priority: number
  readonly seq: number
  /** And all of the priorities that are less urgent. */
  readonly onward: boolean
}

/** The same in fewer words: the first of each account and priority. */
export function firstOfEach(ready: readonly Ready[]): Ready[] {
  const first = new Map<number, Ready>()
  for (const each of ready) {
    const key = each.accountKey * 8 + each.priority * 2 + Number(each.onward)
    const known = first.get(key)
    if (known === undefined || each.seq < known.seq) first.set(key, each)
  }
  return [...first.values()]
}

/** Whatever is ready of the account, from this priority on. */
export function anyOf(accountKey: number, priority = 0): Ready {
  return { accountKey, priority, seq: 0, onward: true }
}
