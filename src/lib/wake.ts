/**
 * Hints that something may have become possible. Every loop is correct by polling alone; a hint only spares the wait.
 * Hints reach the other processes of a shared database too, where it can carry them.
 */
export interface Wake {
  /** New or newly ready messages of these accounts; `priority` is the most urgent among them. */
  queue(accountKeys: readonly number[], priority: number): void
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
