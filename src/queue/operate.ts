/** What a client or an operator does to messages already in the queue. Conditions in the SQL: a claimed row is let be. */
import { type Db, rowsParam } from '../db/db.js'
import { among } from '../db/dialect.js'
import { endOpen } from './end.js'

export interface Deleted {
  readonly removed: number
  readonly notFound: readonly string[]
  readonly unauthorized: readonly string[]
  /** Being sent right now. */
  readonly inProgress: readonly string[]
}

/**
 * With their history: no report follows, and none that is still owed goes out. `tenantId` null: an admin, any tenant's.
 * A foreign id and an unknown one look alike to a tenant, who must not probe for ids.
 */
export async function deleteMessages(
  db: Db,
  { tenantId, ids }: { tenantId: string | null; ids: readonly string[] },
): Promise<Deleted> {
  const asked = [...new Set(ids)]
  const named = asIds(tenantId)
  const paramsOf = (given: readonly string[]) => {
    const rows = rowsParam(given.map(id => ({ i: id })))
    return tenantId === null ? [rows] : [rows, tenantId]
  }
  const chosen = `select m.seq from messages m where ${named} and m.stage <> 3`
  const params = paramsOf(asked)
  const [, , removed] = await db.write([
    // Locked first: a message claimed between the two deletes would stay, and its reports be gone.
    { sql: `${chosen} order by m.seq @for_update`, params },
    { sql: `delete from events where ${among(db.dialect, 'seq', chosen)}`, params },
    { sql: `delete from messages where ${among(db.dialect, 'seq', chosen)} returning id`, params },
  ])
  const gone = new Set((removed ?? []).map(row => row.id as string))
  const left = asked.filter(id => !gone.has(id))
  const rows =
    left.length === 0
      ? []
      : await db.read({ sql: `select m.id from messages m where ${named}`, params: paramsOf(left) })
  const busy = new Set(rows.map(row => row.id as string))
  return {
    removed: removed?.length ?? 0,
    inProgress: left.filter(id => busy.has(id)).sort(),
    // The field is kept for old clients.
    unauthorized: [],
    notFound: left.filter(id => !busy.has(id)).sort(),
  }
}

/** By the unique key also over all tenants: the id alone has no index. */
function asIds(tenantId: string | null): string {
  return tenantId === null
    ? '(m.tenant_id, m.id) in (select t.id, g.i from tenants t cross join @rows($1: i text) g)'
    : 'm.tenant_id = $2 and m.id in (select g.i from @rows($1: i text) g)'
}

export type Operated = 'done' | 'not_found' | 'wrong_state' | 'account_gone'

export interface Target {
  readonly tenantId: string
  readonly id: string
  readonly now: number
}

/** failed or cancelled: tried again from the start, only for recipients that no server accepted. */
export async function retryMessage(db: Db, { tenantId, id, now }: Target): Promise<Operated> {
  const retriable = `tenant_id = $1 and id = $2 and stage = 0 and accepted = 0 and status in ('error', 'cancelled')`
  // Before its first attempt nothing but the client's schedule moves due_at ahead, and that is never anticipated.
  const isScheduled = 'attempts = 0 and due_at > $3'
  // Recipients refused before are asked again: the operator says that the cause is mended.
  const result = await change(db, tenantId, id, {
    sql: `update messages set status = case when ${isScheduled} then 'deferred' else 'pending' end,
        stage = case when ${isScheduled} then 2 else 1 end,
        deferred_ts = case when ${isScheduled} then due_at end,
        due_at = case when ${isScheduled} then due_at else $3 end,
        attempts = 0, error = null, error_at = null, code = null, deferred_reason = null, causes = 0, recipients = null,
        expires_at = null, reported_at = null, updated_at = $3
      where ${retriable} and exists (select 1 from accounts a where a.key = messages.account_key) returning seq`,
    params: [tenantId, id, now],
  })
  if (result !== 'wrong_state') return result
  const orphan = await db.read({ sql: `select 1 from messages where ${retriable}`, params: [tenantId, id] })
  return orphan.length > 0 ? 'account_gone' : result
}

/** In doubt: send again, knowing that the server may have it already. */
export async function releaseMessage(db: Db, { tenantId, id, now }: Target): Promise<Operated> {
  return change(db, tenantId, id, {
    sql: `update messages set status = 'pending', stage = 1, due_at = $3, updated_at = $3
      where tenant_id = $1 and id = $2 and stage = 4 returning seq`,
    params: [tenantId, id, now],
  })
}

/** Waiting: never sent, reported cancelled. */
export async function cancelMessage(db: Db, target: Target): Promise<Operated> {
  return end(db, target, [1, 2], {
    status: 'cancelled',
    type: 'cancelled',
    code: 'cancelled',
    error: 'cancelled on request',
  })
}

/** In doubt: given up, reported as an error. */
export async function discardMessage(db: Db, target: Target): Promise<Operated> {
  return end(db, target, [4], {
    status: 'error',
    type: 'error',
    code: 'in_doubt_discarded',
    error: 'discarded while in doubt: the server may have taken the message',
  })
}

async function end(
  db: Db,
  { tenantId, id, now }: Target,
  stages: readonly number[],
  words: { status: 'error' | 'cancelled'; type: 'error' | 'cancelled'; code: string; error: string },
): Promise<Operated> {
  for (;;) {
    const [row] = await db.read({
      sql: 'select seq, stage from messages where tenant_id = $1 and id = $2',
      params: [tenantId, id],
    })
    if (row === undefined) return 'not_found'
    if (!stages.includes(Number(row.stage))) return 'wrong_state'
    const from = { sql: 'select g.k from @rows($1: k bigint) g', given: rowsParam([{ k: Number(row.seq) }]) }
    const ended = await endOpen(db, { now, from, stages, ...words })
    if (ended.seqs.length > 0) return 'done'
    // It changed under our hands: claimed, ended or replaced. The next look tells which.
  }
}

async function change(
  db: Db,
  tenantId: string,
  id: string,
  statement: { sql: string; params: (string | number)[] },
): Promise<Operated> {
  const [rows] = await db.write([statement])
  if (rows !== undefined && rows.length > 0) return 'done'
  const known = await db.read({
    sql: 'select 1 from messages where tenant_id = $1 and id = $2',
    params: [tenantId, id],
  })
  return known.length > 0 ? 'wrong_state' : 'not_found'
}
