/**
 * Takes accepted messages into the queue. One unit, so that what is answered `queued` is durable and nothing else is
 * left behind. The id is the idempotency key (spec section 2, "Same id again"): the conditions live in the upsert.
 */
import { randomInt } from 'node:crypto'
import { ConstraintViolated, type Db, type Row, rowsParam, type Statement } from '../db/db.js'
import { keyFence } from '../db/key-fence.js'
import type { Message } from '../messages/message.js'
import type { KeptContents } from './kept-contents.js'
import { countOpenUpTo } from './open-rows.js'
import { Cause, Stage } from './stage.js'
import { tieUploads } from './uploads.js'

export type EnqueueAnswer = 'queued' | 'in_progress' | 'already_sent' | 'quota_exceeded'

export interface EnqueueOptions {
  /** Epoch ms. */
  readonly now: number
  /** Most open messages by tenant; a tenant not named has no quota. */
  readonly quota?: ReadonlyMap<string, number>
  /** Keeps their contents for the claim. */
  readonly kept?: KeptContents | null
}

/** One answer a message, in order. Of two equal ids in one call the last content wins and both are `queued`. */
export async function enqueue(
  db: Db,
  messages: readonly Message[],
  { now, quota, kept = null }: EnqueueOptions,
): Promise<EnqueueAnswer[]> {
  const last = new Map<string, Message>()
  for (const message of messages) last.set(keyOf(message.tenantId, message.id), message)
  const refused = quota === undefined || quota.size === 0 ? new Set<string>() : await overQuota(db, last, quota)
  const accepted =
    refused.size === 0 ? [...last.values()] : [...last].filter(([key]) => !refused.has(key)).map(each => each[1])
  const written = accepted.length === 0 ? new Set<string>() : await insert(db, accepted, now, kept)
  const blocked = written.size === accepted.length ? new Map<string, Row>() : await blockers(db, accepted, written)

  return messages.map(message => {
    const key = keyOf(message.tenantId, message.id)
    if (refused.has(key)) return 'quota_exceeded'
    if (written.has(key)) return 'queued'
    return whyNot(blocked.get(key))
  })
}

/** Only what some server has, or may have, is `already_sent`: the client gives it up for good. */
function whyNot(row: Row | undefined): EnqueueAnswer {
  const { stage, status, accepted, causes } = row ?? {}
  const isClaimed = Number(stage) === Stage.claimed
  const isDoubtful = Number(stage) > Stage.ended && (Number(causes) & Cause.doubt) !== 0
  const isTaken = status === 'sent' || Number(stage) === Stage.doubt || Number(accepted) > 0 || isDoubtful
  // Neither: it ended unsent, or was deleted, between the two queries. Busy a moment ago; a retry will be queued.
  return row !== undefined && isTaken && !isClaimed ? 'already_sent' : 'in_progress'
}

/** What two submissions of the same message have in common. Tenant ids hold no space, so the pair stays unambiguous. */
export function keyOf(tenantId: string, id: string): string {
  return `${tenantId} ${id}`
}

/** The keys of what was written; the rest is known by its id and may not be replaced. */
async function insert(
  db: Db,
  messages: readonly Message[],
  now: number,
  kept: KeptContents | null,
): Promise<ReadonlySet<string>> {
  // Each marks the row that this unit writes, so that its content follows exactly that and no refused one.
  const first = randomInt(2 ** 47)
  const submissions = messages.map((_, at) => first + at)
  const keys = messages.map(message => keyOf(message.tenantId, message.id))
  let written: ReadonlySet<string> = new Set()
  try {
    if (db.dialect === 'postgres') written = await insertOnPostgres(db, messages, keys, submissions, now)
    else if (await isDone(insertNew(db, messages, submissions, now, kept))) written = new Set(keys)
    else written = await insertOrReplace(db, messages, submissions, now)
    return written
  } finally {
    // Refused, or the unit failed: no claim would ever take it.
    for (const [at, key] of keys.entries()) if (!written.has(key)) kept?.take(submissions[at]!)
  }
}

/** What is kept for its claim changes its number. Not part of what waits for it, which would hold all texts until then. */
function insertNew(
  db: Db,
  messages: readonly Message[],
  submissions: number[],
  now: number,
  kept: KeptContents | null,
): Promise<Row[][]> {
  const texts = messages.map(message => JSON.stringify(message.content))
  for (const [at, message] of messages.entries()) {
    const number = isLater(message, now) ? null : kept?.keep(message, texts[at]!.length)
    submissions[at] = number ?? submissions[at]!
  }
  return db.write([
    rowsOf(INSERT, messages, submissions, now),
    ...contentsOf(messages, submissions, texts),
    ...fencesOf(messages),
  ])
}

/**
 * As a rule no id is known yet, so what ended before is looked for only where a row was not written: 5 µs a message spared.
 * A row that is refused for another reason is asked for twice.
 */
async function insertOnPostgres(
  db: Db,
  messages: readonly Message[],
  keys: readonly string[],
  submissions: readonly number[],
  now: number,
): Promise<ReadonlySet<string>> {
  const written = await upsert(db, messages, submissions, now)
  if (written.size === messages.length) return written
  const rest = [...messages.keys()].filter(at => !written.has(keys[at]!))
  const replaced = await insertOrReplace(
    db,
    rest.map(at => messages[at]!),
    rest.map(at => submissions[at]!),
    now,
  )
  return new Set([...written, ...replaced])
}

function insertOrReplace(
  db: Db,
  messages: readonly Message[],
  submissions: readonly number[],
  now: number,
): Promise<ReadonlySet<string>> {
  // Error or cancelled with nothing accepted: a new submission, at the end of the queue. Its old reports stay owed.
  const sql = `delete from messages where stage = 0 and accepted = 0 and (tenant_id, id) in
    (select g.t, g.i from @each(t text, i text) g)`
  const rows = messages.map(({ tenantId, id }) => ({ t: tenantId, i: id }))
  return upsert(db, messages, submissions, now, [{ sql, params: [], rows }])
}

/** The keys of what was written, all in one unit with what goes `before`. */
async function upsert(
  db: Db,
  messages: readonly Message[],
  submissions: readonly number[],
  now: number,
  before: readonly Statement[] = [],
): Promise<ReadonlySet<string>> {
  const texts = messages.map(message => JSON.stringify(message.content))
  const results = await db.write([
    ...before,
    rowsOf(UPSERT, messages, submissions, now),
    ...contentsOf(messages, submissions, texts),
    ...fencesOf(messages),
  ])
  return new Set(results[before.length]!.map(row => keyOf(row.tenant_id as string, row.id as string)))
}

/** What secrets in contents were sealed with has to be what seals now. */
function fencesOf(messages: readonly Message[]): Statement[] {
  return [...new Set(messages.flatMap(({ sealedWith }) => sealedWith ?? []))].map(keyFence)
}

function isLater({ notBefore }: Message, now: number): boolean {
  return notBefore !== null && notBefore > now
}

function rowsOf(sql: string, messages: readonly Message[], submissions: readonly number[], now: number) {
  const rows = messages.map((message, at) => ({
    t: message.tenantId,
    i: message.id,
    s: submissions[at],
    k: message.accountKey,
    a: message.accountId,
    p: message.priority,
    b: message.batchCode,
    d: isLater(message, now) ? message.notBefore : null,
    x: message.expiresAt,
  }))
  return { sql, params: [now], rows }
}

/**
 * As a rule no id is known yet, and on SQLite that is tried first: without looking for what to delete or to replace, and
 * without RETURNING, a row takes 11 of 22 µs. PostgreSQL would write each known id into its log as an error.
 */
async function isDone(written: Promise<unknown>): Promise<boolean> {
  try {
    await written
    return true
  } catch (error) {
    if (error instanceof ConstraintViolated) return false
    throw error
  }
}

const INSERT = `insert into messages (tenant_id, id, account_key, account_id, status, stage, priority, batch_code,
    due_at, expires_at, submission, deferred_ts, created_at, updated_at)
  select g.t, g.i, g.k, g.a, case when g.d is null then 'pending' else 'deferred' end,
    case when g.d is null then 1 else 2 end, g.p, g.b, coalesce(g.d, $1), g.x, g.s, g.d, $1, $1
  from @each(t text, i text, s bigint, k bigint, a text, p bigint, b text, d bigint, x bigint) g
  where true`

// Still open, nothing accepted and nothing in doubt: content replaced, place in the queue kept, attempts reset.
const UPSERT = `${INSERT}
  on conflict (tenant_id, id) do update set
    account_key = excluded.account_key, account_id = excluded.account_id, status = excluded.status,
    stage = excluded.stage, priority = excluded.priority, batch_code = excluded.batch_code,
    due_at = excluded.due_at, expires_at = excluded.expires_at, submission = excluded.submission,
    deferred_ts = excluded.deferred_ts, deferred_reason = null, causes = 0, attempts = 0, recipients = null,
    error = null, code = null, updated_at = excluded.updated_at
  where messages.stage in (1, 2) and messages.accepted = 0 and (messages.causes & ${Cause.doubt}) = 0
  returning tenant_id, id`

function contentsOf(
  messages: readonly Message[],
  submissions: readonly number[],
  texts: readonly string[],
): Statement[] {
  return [
    {
      sql: `insert into contents (seq, submission, envelope, size, trace, content)
        select m.seq, g.s, g.e, g.z, g.tr, g.c
        from @each(t text, i text, s bigint, e text, z bigint, c text, tr text) g
        join messages m on m.tenant_id = g.t and m.id = g.i where m.submission = g.s
        on conflict (seq) do update set
          submission = excluded.submission, envelope = excluded.envelope, size = excluded.size, trace = excluded.trace,
          content = excluded.content`,
      params: [],
      rows: messages.map((message, at) => ({
        t: message.tenantId,
        i: message.id,
        s: submissions[at],
        e: JSON.stringify(message.envelope),
        // PostgreSQL takes some 7 µs to count the characters of 2 KB.
        z: texts[at]!.length,
        c: texts[at],
        tr: message.trace ?? undefined,
      })),
    },
    ...tieUploads(
      messages.flatMap((message, at) =>
        uploadsOf(message).map(upload => ({
          tenantId: message.tenantId,
          id: message.id,
          submission: submissions[at]!,
          upload,
        })),
      ),
    ),
  ]
}

/** The uploads that the message's attachments stand in. */
export function uploadsOf({ content }: Pick<Message, 'content'>): number[] {
  return content.attachments?.flatMap(({ upload }) => (upload === undefined ? [] : [upload.id])) ?? []
}

async function blockers(db: Db, messages: readonly Message[], written: ReadonlySet<string>): Promise<Map<string, Row>> {
  const asked = messages
    .filter(message => !written.has(keyOf(message.tenantId, message.id)))
    .map(message => ({ t: message.tenantId, i: message.id }))
  const rows = await db.read({
    sql: `select m.tenant_id, m.id, m.stage, m.status, m.accepted, m.causes from @rows($1: t text, i text) g
      join messages m on m.tenant_id = g.t and m.id = g.i`,
    params: [rowsParam(asked)],
  })
  return new Map(rows.map(row => [keyOf(row.tenant_id as string, row.id as string), row]))
}

/**
 * The keys that would take their tenant over its quota. Counted before the insert and not under a lock: two requests
 * at the same instant may together pass it by what one of them brings, which a quota against runaway clients can bear.
 */
async function overQuota(
  db: Db,
  messages: ReadonlyMap<string, Message>,
  quota: ReadonlyMap<string, number>,
): Promise<Set<string>> {
  const refused = new Set<string>()
  for (const [tenantId, limit] of quota) {
    const mine = [...messages].filter(([, message]) => message.tenantId === tenantId)
    if (mine.length === 0) continue
    const known = await db.read({
      sql: `select m.id from @rows($1: i text) g join messages m on m.tenant_id = $2 and m.id = g.i
        where m.stage > 0`,
      params: [rowsParam(mine.map(([, message]) => ({ i: message.id }))), tenantId],
    })
    const replaced = new Set(known.map(row => row.id))
    let room = limit - (await countOpenUpTo(db, tenantId, limit))
    for (const [key, message] of mine) {
      // Replacing an open message takes no new place.
      if (replaced.has(message.id)) continue
      if (room > 0) room -= 1
      else refused.add(key)
    }
  }
  return refused
}
