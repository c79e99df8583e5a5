/** Finds the tenants and accounts that a chunk of messages names: in memory, or in one query for all (two for an admin). */
import { type Db, rowsParam } from '../db/db.js'
import { type GatherOptions, gather } from '../lib/gather.js'
import { isUnsafe } from './fields.js'

/** As a message names them; null: left out. */
export interface Named {
  readonly tenantId: string | null
  readonly accountId: string | null
}

export interface Destination {
  readonly tenantId: string
  readonly active: boolean
  readonly maxQueuedMessages: number | null
  /** The tenant has a client_base_url, where attachments can be asked for. */
  readonly hasEndpoint: boolean
  /** False only where no account was found and the tenant has none at all. */
  readonly hasAccounts: boolean
  /** null: the tenant has no such account, or none that is its only one or its default. */
  readonly account: { readonly key: number; readonly id: string } | null
}

/** The destination of each, in order; null: there is no such tenant. At once where all are remembered. */
export type Resolve = (
  named: readonly Named[],
) => readonly (Destination | null)[] | Promise<readonly (Destination | null)[]>

/** Most destinations that are remembered, some 300 octets each; then it begins anew. */
const MOST_KNOWN = 20_000

/**
 * Calls that come together share the query. Where only this process changes tenants and accounts (SQLite) the answers are
 * remembered until one of them is changed: the query costs a turn of the reading thread, and the request two of its own.
 */
export function createResolve(db: Db, together: GatherOptions): Resolve {
  const ask = gather((named: readonly Named[]) => resolveDestinations(db, named), together)
  let known = createKnown()
  let knownSince: number | null = null
  return named => {
    const version = db.recordsVersion()
    if (version === null) return ask(named)
    if (version !== knownSince || known.size >= MOST_KNOWN) {
      known = createKnown()
      knownSince = version
    }
    // Of this version: what changes while we read puts another in its place.
    const mine = known
    const remembered = named.map(mine.get)
    if (!remembered.includes(undefined)) return remembered as Destination[]
    return ask(named).then(found => {
      for (const [at, each] of named.entries()) {
        const destination = found[at] ?? null
        if (destination !== null) mine.set(each, destination)
      }
      return found
    })
  }
}

async function resolveDestinations(db: Db, named: readonly Named[]): Promise<(Destination | null)[]> {
  const ownerless = new Set<string>()
  for (const { tenantId, accountId } of named) {
    if (tenantId === null && accountId !== null) ownerless.add(accountId)
  }
  const owners = ownerless.size === 0 ? new Map<string, string>() : await findOwners(db, ownerless)
  const tenantOf = (each: Named) =>
    each.tenantId ?? (each.accountId === null ? undefined : owners.get(each.accountId)) ?? 'default'

  const asked = new Map<string, { t: string; a: string | null }>()
  for (const each of named) {
    // The request's tenant_id did not come through parseMessage, and half a surrogate pair is an error to PostgreSQL.
    if (!isUnsafe(tenantOf(each)))
      asked.set(keyOf(tenantOf(each), each.accountId), { t: tenantOf(each), a: each.accountId })
  }
  const found = await findDestinations(db, [...asked.values()])
  return named.map(each => found.get(keyOf(tenantOf(each), each.accountId)) ?? null)
}

/** The tenant of each account id that only one tenant has. */
async function findOwners(db: Db, accountIds: ReadonlySet<string>): Promise<Map<string, string>> {
  const rows = await db.read({
    sql: `select a.id, min(a.tenant_id) as tenant_id from accounts a
      where a.id in (select g.a from @rows($1: a text) g) group by a.id having count(*) = 1`,
    params: [rowsParam([...accountIds].map(a => ({ a })))],
  })
  return new Map(rows.map(row => [row.id as string, row.tenant_id as string]))
}

async function findDestinations(db: Db, asked: readonly object[]): Promise<Map<string, Destination>> {
  const rows = await db.read({
    sql: `select g.t, g.a, t.active, t.max_queued_messages, t.client_base_url, a.key, a.id,
        case when a.key is null then (select count(*) from accounts s where s.tenant_id = g.t) else 1 end as accounts
      from @rows($1: t text, a text) g
      join tenants t on t.id = g.t
      left join accounts a on a.key = case
        when g.a is not null then (select n.key from accounts n where n.tenant_id = g.t and n.id = g.a)
        else (select case when count(*) = 1 then min(o.key) else min(case when o.is_default = 1 then o.key end) end
          from accounts o where o.tenant_id = g.t) end`,
    params: [rowsParam(asked)],
  })
  return new Map(
    rows.map(row => [
      keyOf(row.t as string, row.a as string | null),
      {
        tenantId: row.t as string,
        active: Number(row.active) === 1,
        maxQueuedMessages: row.max_queued_messages === null ? null : Number(row.max_queued_messages),
        hasEndpoint: Boolean(row.client_base_url),
        hasAccounts: Number(row.accounts) > 0,
        account: row.key === null ? null : { key: Number(row.key), id: row.id as string },
      },
    ]),
  )
}

/** By account within tenant: a key of both would be a string made and hashed for each message. */
function createKnown() {
  const byTenant = new Map<string | null, Map<string | null, Destination>>()
  let size = 0
  return {
    get size() {
      return size
    },
    get: ({ tenantId, accountId }: Named) => byTenant.get(tenantId)?.get(accountId),
    set({ tenantId, accountId }: Named, destination: Destination) {
      const byAccount = byTenant.get(tenantId) ?? new Map<string | null, Destination>()
      if (!byAccount.has(accountId)) size += 1
      byTenant.set(tenantId, byAccount.set(accountId, destination))
    },
  }
}

// A line feed is in no id that passed parseMessage, so the pairs stay unambiguous.
function keyOf(tenantId: string, accountId: string | null): string {
  return accountId === null ? tenantId : `${tenantId}\n${accountId}`
}
