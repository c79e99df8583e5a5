/**
 * Claims due messages under a lease. Everything that holds a message back acts here, before the claim, in the same
 * statement: limits, rules (the tick), suspended batches. Nothing is claimed and put back.
 */
import { randomInt } from 'node:crypto'
import { type Db, keysParam, type Row, rowsParam, type Statement } from '../db/db.js'
import { freeSlotsSql, limitRows, lockScopes } from '../limits/store.js'
import type { Limit } from '../limits/windows.js'
import type { Content, Envelope, Priority, RecipientState } from '../messages/message.js'
import type { KeptContents } from './kept-contents.js'

export interface ClaimRequest {
  readonly accountKey: number
  /** At most so many. */
  readonly limit: number
  /** 0 takes only immediate ones, 3 all. */
  readonly maxPriority: number
  /** Only what was due by then, epoch ms (a rule's tick); null: all that is ready. */
  readonly dueBy: number | null
  readonly suspendedBatches: readonly string[]
  readonly limits: readonly Limit[]
  /** Epoch ms by the wall clock: what has expired by then is left to the janitor. */
  readonly now: number
  /** Nothing before it. Absent or null: from the first. */
  readonly from?: Position | null
}

/** A place in the order of claims. */
export interface Position {
  readonly priority: number
  readonly seq: number
}

/** A claimed row, without its content. */
export interface Claimed {
  readonly seq: number
  readonly tenantId: string
  readonly id: string
  readonly accountKey: number
  readonly accountId: string
  readonly priority: Priority
  readonly batchCode: string | null
  /** Attempts made before this one. */
  readonly attempts: number
  readonly accepted: number
  readonly recipients: readonly RecipientState[] | null
  readonly dueAt: number
  readonly expiresAt: number | null
  /** When a server last accepted a recipient, epoch ms; null: none did. */
  readonly sentAt: number | null
  readonly createdAt: number
  readonly causes: number
  readonly lease: number
  /** Which claim under that lease. */
  readonly claim: number
}

/** A claimed message with all that its delivery needs: plain data. */
export interface ClaimedMessage extends Claimed {
  /** null: too long to be kept by everyone who waits; see loadContent. */
  readonly content: Content | null
  readonly envelope: Envelope
  /** traceparent of the request that brought it; null: there were no traces. */
  readonly trace: string | null
}

// Above every instant and inside both databases' integers.
const ALWAYS = 9_000_000_000_000_000

const COLUMNS = `seq, tenant_id, id, account_key, account_id, priority, batch_code, attempts, accepted, recipients,
  due_at, expires_at, sent_at, created_at, causes, claim`
/** With the claim itself: a query of its own afterwards kept the lanes waiting, and another thread busy (SQLite). */
const WITH_CONTENT = `(select c.envelope from contents c where c.seq = messages.seq) as envelope,
  (select c.trace from contents c where c.seq = messages.seq) as trace,
  (select c.content from contents c where c.seq = messages.seq and c.size <= $6) as content`
/** But for those that this process keeps; a retry is no longer among them. */
const WITH_CONTENT_BUT_KEPT = `submission, ${WITH_CONTENT.replaceAll('c.seq = messages.seq', 'c.seq = messages.seq and not (submission between $7 and $8 and attempts = 0)')}`
/**
 * PostgreSQL looks each of those up by itself, and can join what an update returns, which SQLite cannot. It claims the row
 * as it is now, but reads contents as they were when the claim began: of a message replaced meanwhile that is the content
 * before, which the number of its submission tells.
 */
const JOINED_CONTENT = `select taken.*, ${contentUpTo('$6')}
  from taken left join contents c on c.seq = taken.seq and c.submission = taken.submission`

const TAKE = `update messages set status = 'sending', stage = 3, lease = $1, claim = $5, updated_at = $4
  where seq in (select seq from due) returning ${COLUMNS}`

/** As the claim itself answers it; without an envelope there is nothing to send. */
export type Taken = Omit<ClaimedMessage, 'envelope'> & { readonly envelope: Envelope | null }

export interface ClaimOptions {
  /** A content longer than so many characters is null and read when it is sent. */
  readonly most?: number
  /** Has contents that need not be read; null: there are none. */
  readonly kept?: KeptContents | null
}

/** One unit for all requests; answers one list a request, in the order (priority, seq). */
export async function claimDue(
  db: Db,
  lease: number,
  now: number,
  requests: readonly ClaimRequest[],
  { most = Number.MAX_SAFE_INTEGER, kept = null }: ClaimOptions = {},
): Promise<Taken[][]> {
  const limits = requests.flatMap(request => request.limits)
  const locks = db.dialect === 'sqlite' || limits.length === 0 ? [] : lockScopes(limits)
  // One number for the whole unit: a row stands in it once.
  const claim = randomInt(2 ** 47)
  const known = kept?.numbers() ?? null
  const unit = requests.map(request => claimOne(db, lease, claim, now, request, most, known))
  const results = await db.write([...locks, ...unit])
  const missing: Taken[] = []
  const take = (row: Row): Taken => {
    const content = kept?.take(Number(row.submission)) ?? contentFrom(row)
    // Not spread into a third object: of so many names V8 makes a dictionary, 2 KB a message and slow at each look.
    const taken = Object.assign(claimedFrom(row, lease), content)
    if (taken.envelope === null) missing.push(taken)
    return taken
  }
  const claimed = results.slice(locks.length).map(rows =>
    rows
      .map(take)
      // RETURNING promises no order.
      .sort((a, b) => a.priority - b.priority || a.seq - b.seq),
  )
  if (missing.length > 0) await readContents(db, missing, most)
  return claimed
}

/**
 * Of what the claim left out: it is kept no longer, for it was claimed before and given back or had to make room just now;
 * or it was replaced while the claim was under way. Claimed, it can be replaced no more.
 */
async function readContents(db: Db, missing: readonly Taken[], most: number): Promise<void> {
  const rows = await db.read({
    sql: `select c.seq, ${contentUpTo('$2')}
      from @keys($1) g join contents c on c.seq = g.key`,
    params: [keysParam(missing.map(each => each.seq)), most],
  })
  const found = new Map(rows.map(row => [Number(row.seq), row]))
  for (const each of missing) {
    const row = found.get(each.seq)
    if (row !== undefined) Object.assign(each, contentFrom(row))
  }
}

/**
 * Nothing goes out at all. Asked in the claim itself, for what the process remembers may be a step old: a message that
 * came after a suspension was answered must not be claimed. It costs 0 to 3 µs a claim of 50 (SQLite, 60 µs in all).
 */
const STOPPED = "(key = 'scheduler_active' and value = '0') or key = 'release_needed'"

function claimOne(
  { dialect }: Db,
  lease: number,
  claim: number,
  now: number,
  request: ClaimRequest,
  longest: number,
  known: readonly [number, number] | null,
): Statement {
  const { limit, limits } = request
  const params: (string | number)[] = [lease, now, limit, request.now, claim, longest, ...(known ?? [])]
  const claimable = claimableSql(request, params)
  const most =
    limits.length === 0
      ? '$3'
      : `(select @least($3, case when s.free > 0 then s.free else 0 end)
      from (select ${freeSlotsSql(`$${params.push(limitRows(limits))}`, '$2')} as free) s)`
  return {
    // The CTE is materialized: PostgreSQL may otherwise run a locking subselect twice and claim more than the limit.
    // The lease must still stand: a process frozen past it has been declared dead and must not claim under it.
    sql: `with due as @materialized (
        select seq from messages where ${claimable}
          and exists (select 1 from leases l where l.id = $1 and l.until > @now($2))
          and not exists (select 1 from meta where ${STOPPED})
        order by priority, seq limit ${most} @skip_locked)
      ${dialect === 'postgres' ? `, taken as (${TAKE}, submission) ${JOINED_CONTENT}` : `${TAKE}, ${known === null ? WITH_CONTENT : WITH_CONTENT_BUT_KEPT}`}`,
    params,
  }
}

/** What the request may take but for its limits, as a condition on messages; adds to `params`. */
export function claimableSql(request: Omit<ClaimRequest, 'limit' | 'limits'>, params: (string | number)[]): string {
  const { accountKey, maxPriority, dueBy, suspendedBatches, now, from } = request
  const mark = (value: string | number) => `$${params.push(value)}`
  const conditions = [
    `account_key = ${mark(accountKey)} and stage = 1 and priority <= ${mark(maxPriority)}`,
    `(expires_at is null or expires_at > ${mark(now)})`,
  ]
  if (from != null) conditions.push(`(priority, seq) >= (${mark(from.priority)}, ${mark(from.seq)})`)
  if (dueBy !== null) conditions.push(`due_at <= ${mark(Math.min(dueBy, ALWAYS))}`)
  if (suspendedBatches.length > 0) {
    const given = mark(rowsParam(suspendedBatches.map(batch => ({ b: batch }))))
    conditions.push(`(batch_code is null or batch_code not in (select g.b from @rows(${given}: b text) g))`)
  }
  return conditions.join(' and ')
}

function contentFrom(row: Row): Pick<Taken, 'content' | 'envelope' | 'trace'> {
  return {
    content: row.content === null ? null : (JSON.parse(row.content as string) as Content),
    envelope: row.envelope === null ? null : (JSON.parse(row.envelope as string) as Envelope),
    trace: row.trace as string | null,
  }
}

/** What contentFrom reads of a row `c` of contents; a content longer than `most` characters is null. */
function contentUpTo(most: string): string {
  return `c.envelope, c.trace, case when c.size <= ${most} then c.content end as content`
}

/** The content of one claimed row. Throws when there is none. */
export async function loadContent(db: Db, seq: number): Promise<Content> {
  const [row] = await db.read({ sql: 'select content from contents where seq = $1', params: [seq] })
  if (row === undefined) throw new Error('the message has no content')
  return JSON.parse(row.content as string) as Content
}

export function claimedFrom(row: Row, lease: number): Claimed {
  return {
    seq: Number(row.seq),
    tenantId: row.tenant_id as string,
    id: row.id as string,
    accountKey: Number(row.account_key),
    accountId: row.account_id as string,
    priority: Number(row.priority) as Priority,
    batchCode: row.batch_code as string | null,
    attempts: Number(row.attempts),
    accepted: Number(row.accepted),
    recipients: row.recipients === null ? null : (JSON.parse(row.recipients as string) as RecipientState[]),
    dueAt: Number(row.due_at),
    expiresAt: row.expires_at === null ? null : Number(row.expires_at),
    sentAt: row.sent_at === null ? null : Number(row.sent_at),
    createdAt: Number(row.created_at),
    causes: Number(row.causes),
    claim: Number(row.claim),
    lease,
  }
}
