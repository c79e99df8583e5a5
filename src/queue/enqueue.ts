/**
 * Takes accepted messages into the queue. One unit, so that what is answered `queued` is durable and nothing else is
 * left behind. The id is the idempotency key (spec section 2, "Same id again"): the conditions live in the upsert.
 */
import { randomInt } from 'node:crypto'
import { ConstraintViolated, type Db, type Row, rowsParam, type Statement } from '../db/db.js'
import { keyFence } from '../db/key-fence.js'
import { anyOf, firstOfEach, type Ready } from '../lib/wake.js'
import type { Content, Message } from '../messages/message.js'
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

export interface Enqueued {
  /** One a message, in order. Of two equal ids in one call the last content wins and both are `queued`. */
  readonly answers: EnqueueAnswer[]
  /** Of what is queued and due. */
  readonly ready: Ready[]
}

export async function enqueue(
  db: Db,
  messages: readonly Message[],
  { now, quota, kept = null }: EnqueueOptions,
): Promise<Enqueued> {
  const keys = messages.map(({ tenantId, id }) => keyOf(tenantId, id))
  const last = new Map(keys.map((key, at) => [key, messages[at]!]))
  const refused = quota === undefined || quota.size === 0 ? NONE : await overQuota(db, last, quota)
  for (const key of refused) last.delete(key)
  const { unwritten, ready } = last.size === 0 ? NOTHING : await insert(db, last, now, kept)
  const blocked = unwritten.size === 0 ? NO_ROWS : await blockers(db, last, unwritten)
  const answers = keys.map(key => {
    if (refused.has(key)) return 'quota_exceeded'
    return unwritten.has(key) ? whyNot(blocked.get(key)) : 'queued'
  })
  return { answers, ready }
}

/** What became of messages that were to be written. */
interface Written {
  /** The keys of what was not: it is known by its id and may not be replaced. */
  readonly unwritten: ReadonlySet<string>
  readonly ready: Ready[]
}

const NONE: ReadonlySet<string> = new Set()
const NOTHING: Written = { unwritten: NONE, ready: [] }
const NO_ROWS: ReadonlyMap<string, Row> = new Map()

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

async function insert(
  db: Db,
  given: ReadonlyMap<string, Message>,
  now: number,
  kept: KeptContents | null,
): Promise<Written> {
  const keys = [...given.keys()]
  const messages = [...given.values()]
  // Each marks the row that this unit writes, so that its content follows exactly that and no refused one.
  const first = randomInt(2 ** 47)
  const submissions = keys.map((_, at) => first + at)
  const batch = { keys, messages, submissions }
  let written: Written | null = null
  try {
    if (db.dialect === 'postgres') written = await insertOnPostgres(db, batch, now, kept)
    else if (await isDone(insertNew(db, batch, now, kept))) written = { unwritten: NONE, ready: anyOfEach(batch, now) }
    else written = await insertOrReplace(db, batch, now)
    return written
  } finally {
    // Refused, or the unit failed: no claim would ever take it.
    for (const [at, key] of keys.entries()) if (written?.unwritten.has(key) !== false) kept?.take(submissions[at]!)
  }
}

/** Messages with what is known of each, at the same places. */
interface Batch {
  readonly keys: readonly string[]
  readonly messages: readonly Message[]
  readonly submissions: number[]
}

/** Not part of what waits for it, which would hold all texts until then. */
function insertNew(db: Db, batch: Batch, now: number, kept: KeptContents | null): Promise<Row[][]> {
  const texts = textsOf(db, batch, now, kept)
  return db.write([rowsOf(INSERT, batch, now), ...contentsOf(batch, texts), ...fencesOf(batch.messages)])
}

/**
 * As a rule no id is known yet, so what ended before is looked for only where a row was not written: 5 µs a message spared.
 * A row that is refused for another reason is asked for twice.
 */
async function insertOnPostgres(db: Db, batch: Batch, now: number, kept: KeptContents | null): Promise<Written> {
  const { unwritten, ready } = await upsert(db, batch, now, kept)
  if (unwritten.size === 0) return { unwritten, ready }
  const rest = [...batch.keys.keys()].filter(at => unwritten.has(batch.keys[at]!))
  const again = {
    keys: rest.map(at => batch.keys[at]!),
    messages: rest.map(at => batch.messages[at]!),
    submissions: rest.map(at => batch.submissions[at]!),
  }
  const written = await insertOrReplace(db, again, now)
  return { unwritten: written.unwritten, ready: [...ready, ...written.ready] }
}

function insertOrReplace(db: Db, batch: Batch, now: number): Promise<Written> {
  // Error or cancelled with nothing accepted: a new submission, at the end of the queue. Its old reports stay owed.
  const sql = `delete from messages where stage = 0 and accepted = 0 and (tenant_id, id) in
    (select g.t, g.i from @each(t text, i text) g)`
  const rows = batch.messages.map(({ tenantId, id }) => ({ t: tenantId, i: id }))
  return upsert(db, batch, now, null, [{ sql, params: [], rows }])
}

/** In one unit with what goes `before`. */
async function upsert(
  db: Db,
  batch: Batch,
  now: number,
  kept: KeptContents | null,
  before: readonly Statement[] = [],
): Promise<Written> {
  const { keys, messages } = batch
  const texts = textsOf(db, batch, now, kept)
  const results = await db.write([
    ...before,
    rowsOf(UPSERT, batch, now),
    ...contentsOf(batch, texts),
    ...fencesOf(messages),
  ])
  const rows = results[before.length]!
  const written = new Map(rows.map(row => [keyOf(row.tenant_id as string, row.id as string), Number(row.seq)]))
  const ready: Ready[] = []
  for (const [at, message] of messages.entries()) {
    const seq = written.get(keys[at]!)
    const { accountKey, priority } = message
    if (seq !== undefined && !isLater(message, now)) ready.push({ accountKey, priority, seq, onward: false })
  }
  const unwritten = written.size === keys.length ? NONE : new Set(keys.filter(key => !written.has(key)))
  return { unwritten, ready: firstOfEach(ready) }
}

/** For each account with something due all from the most urgent of it on. */
function anyOfEach({ messages }: Batch, now: number): Ready[] {
  const urgent = new Map<number, number>()
  for (const message of messages) {
    const { accountKey, priority } = message
    if (!isLater(message, now)) urgent.set(accountKey, Math.min(urgent.get(accountKey) ?? priority, priority))
  }
  return [...urgent].map(([accountKey, priority]) => anyOf(accountKey, priority))
}

/** What secrets in contents were sealed with has to be what seals now. */
function fencesOf(messages: readonly Message[]): Statement[] {
  const checks = new Set<string>()
  for (const { sealedWith } of messages) if (sealedWith !== undefined) checks.add(sealedWith)
  return [...checks].map(keyFence)
}

function isLater({ notBefore }: Message, now: number): boolean {
  return notBefore !== null && notBefore > now
}

function rowsOf(sql: string, { messages, submissions }: Batch, now: number): Statement {
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
  returning tenant_id, id, seq`

/** A content as it goes to the database. */
interface Text {
  /** JSON; where the body stands apart, up to its place at the end. */
  readonly json: string
  readonly body: string | null
  /** Characters of both. */
  readonly size: number
}

/** The contents; what of them is kept for its claim changes its number. */
function textsOf(db: Db, { messages, submissions }: Batch, now: number, kept: KeptContents | null): Text[] {
  return messages.map((message, at) => {
    const text = textOf(db, message.content)
    const number = isLater(message, now) ? null : kept?.keep(message, text.size)
    submissions[at] = number ?? submissions[at]!
    return text
  })
}

/**
 * On SQLite the database's thread writes the body as JSON: a text of 2 KB takes 2 µs there, and 5 to 8 here, where JSON.stringify
 * would also leave twice its length to collect.
 */
function textOf({ dialect }: Db, content: Content): Text {
  const field = BODIES.find(name => content[name] !== undefined) ?? 'body'
  const body = content[field]
  if (dialect === 'postgres' || body === undefined || !mayStandApart(body)) {
    const json = JSON.stringify(content)
    return { json, body: null, size: json.length }
  }
  const others = JSON.stringify({ ...content, [field]: undefined })
  const json = `${others.slice(0, -1)},"${field}":`
  return { json, body, size: json.length + body.length }
}

/** Of two alternatives the HTML is the longer one. */
const BODIES = ['body', 'bodyHtml', 'bodyText'] as const

/**
 * The driver ends a text at NUL, and half of a surrogate pair becomes another character. A large one would stand in memory
 * three times more.
 */
function mayStandApart(body: string): boolean {
  return body.length <= MOST_APART && !body.includes('\0') && !LONE_SURROGATE.test(body)
}

/** Characters. */
const MOST_APART = 256 * 1024
const LONE_SURROGATE = /\p{Cs}/u

const CONTENTS = `insert into contents (seq, submission, envelope, size, trace, content)
  select m.seq, g.s, g.e, g.z, g.tr, case when g.b is null then g.c else g.c || @json_text(g.b) || '}' end
  from @each(t text, i text, s bigint, e text, z bigint, tr text, c text, b text) g
  join messages m on m.tenant_id = g.t and m.id = g.i where m.submission = g.s
  on conflict (seq) do update set
    submission = excluded.submission, envelope = excluded.envelope, size = excluded.size, trace = excluded.trace,
    content = excluded.content`

function contentsOf({ messages, submissions }: Batch, texts: readonly Text[]): Statement[] {
  const statement = {
    sql: CONTENTS,
    params: [],
    rows: messages.map(({ tenantId, id, envelope, trace }, at) => {
      const { json, body, size } = texts[at]!
      return {
        t: tenantId,
        i: id,
        s: submissions[at],
        e: JSON.stringify(envelope),
        // PostgreSQL takes some 7 µs to count the characters of 2 KB.
        z: size,
        c: json,
        tr: trace,
        b: body,
      }
    }),
  }
  return [statement, ...tieUploads(uploadRows(messages, submissions))]
}

function uploadRows(messages: readonly Message[], submissions: readonly number[]) {
  return messages.flatMap((message, at) => {
    const { tenantId, id } = message
    return uploadsOf(message).map(upload => ({ tenantId, id, submission: submissions[at]!, upload }))
  })
}

/** The uploads that the message's attachments stand in. */
export function uploadsOf({ content: { attachments } }: Pick<Message, 'content'>): readonly number[] {
  return attachments?.flatMap(({ upload }) => (upload === undefined ? [] : [upload.id])) ?? NO_UPLOADS
}

const NO_UPLOADS: readonly number[] = []

async function blockers(
  db: Db,
  messages: ReadonlyMap<string, Message>,
  unwritten: ReadonlySet<string>,
): Promise<Map<string, Row>> {
  const asked = [...unwritten].map(key => {
    const { tenantId, id } = messages.get(key)!
    return { t: tenantId, i: id }
  })
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
): Promise<ReadonlySet<string>> {
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
