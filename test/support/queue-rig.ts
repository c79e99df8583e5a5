/** The queue on a real database with a time that the test moves: accounts, messages, leases, claims and looks at rows. */
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { type Db, type Row, rowsParam } from '../../src/db/db.js'
import type { Limit } from '../../src/limits/windows.js'
import type { Message } from '../../src/messages/message.js'
import { type Claimed, type ClaimRequest, claimDue, type Taken } from '../../src/queue/claim.js'
import { createFileJournal, createTableJournal, type DoubtJournal } from '../../src/queue/doubt-journal.js'
import { type EnqueueAnswer, enqueue } from '../../src/queue/enqueue.js'
import { createKeptContents, type KeptContents } from '../../src/queue/kept-contents.js'
import type { AttemptRecord, Outcome, RecipientVerdict } from '../../src/queue/outcome.js'
import { type Settlement, settle } from '../../src/queue/settle.js'
import { nextTransition, type RetryPolicy } from '../../src/queue/transition.js'
import { type MessageAccount, plainMessage } from './plain-message.js'
import { type dialects, openTempDb, type TempDb } from './temp-db.js'

/** A Tuesday, and a whole number of buckets of every span. */
export const START = Date.UTC(2026, 5, 30, 0)

export const POLICY: RetryPolicy = { maxRetries: 5, retryDelaysMs: [60_000], inDoubt: 'retry' }

export type TestAccount = MessageAccount

export interface QueueRig {
  readonly temp: TempDb
  readonly db: Db
  /** As the service has it: null on PostgreSQL. */
  kept: KeptContents | null
  /** Epoch ms, by all clocks; moved by assigning it. */
  now: number
  account(tenantId?: string): Promise<TestAccount>
  /** A message of this account, due now; its id is new unless given. */
  message(account: TestAccount, fields?: Partial<Message>): Message
  add(account: TestAccount, count: number, fields?: Partial<Message>): Promise<string[]>
  enqueue(...messages: Message[]): Promise<EnqueueAnswer[]>
  /** A lease that stands for a year unless told otherwise. */
  lease(fields?: { id?: number; leaseMs?: number; epoch?: string }): Promise<number>
  claim(account: TestAccount, lease: number, fields?: Partial<ClaimRequest>): Promise<Taken[]>
  /** Settles claims with the outcome of `made`, counted against `limits`. Answers the seqs that were still ours. */
  settle(
    claims: readonly Claimed[],
    made: Outcome,
    limits?: readonly Limit[],
    fields?: Pick<Settlement, 'isUntold'>,
  ): Promise<Set<number>>
  /** The doubt journal as a process of its own has it. */
  journal(): DoubtJournal
  row(id: string, tenantId?: string): Promise<Row>
  rows(sql: string, ...params: (string | number)[]): Promise<Row[]>
  exec(sql: string, ...params: (string | number | null)[]): Promise<void>
  /** Everything that a settle may write, to compare. */
  dump(): Promise<unknown>
  /** From now on the database refuses to end the claim of this message. Resolves with what ends that. */
  refuseToSettle(id: string): Promise<() => Promise<void>>
  clear(): Promise<void>
}

let counter = 0

/** For a describe: one rig for its tests, emptied before each and then given to `prepare`. */
export function useQueueRig(dialect: (typeof dialects)[number], prepare: (rig: QueueRig) => Promise<void>): void {
  let rig: QueueRig
  beforeAll(async () => {
    rig = await openQueueRig(dialect)
  })
  beforeEach(async () => {
    await rig.clear()
    await prepare(rig)
  })
  afterAll(() => rig.temp.drop())
}

export async function openQueueRig(dialect: (typeof dialects)[number]): Promise<QueueRig> {
  const temp = await openTempDb(dialect)
  const { db } = temp
  const rows: QueueRig['rows'] = async (sql, ...params) => (await db.read({ sql, params })).map(row => ({ ...row }))
  const exec: QueueRig['exec'] = async (sql, ...params) => void (await db.write([{ sql, params }]))
  const rig: QueueRig = {
    temp,
    db,
    kept: dialect === 'sqlite' ? createKeptContents(() => rig.now) : null,
    now: START,
    async account(tenantId = 'acme') {
      const id = `account${++counter}`
      await exec(`insert into tenants (id, created_at, updated_at) values ($1, 0, 0) on conflict do nothing`, tenantId)
      await exec(
        `insert into accounts (tenant_id, id, host, port, created_at, updated_at) values ($1, $2, 'mx.test', 25, 0, 0)`,
        tenantId,
        id,
      )
      const [row] = await rows('select key from accounts where tenant_id = $1 and id = $2', tenantId, id)
      return { key: Number(row!.key), id, tenantId }
    },
    message: (account, fields) => plainMessage(account, { id: `m${++counter}`, ...fields }),
    async add(account, count, fields) {
      const messages = Array.from({ length: count }, () => rig.message(account, fields))
      await rig.enqueue(...messages)
      return messages.map(each => each.id)
    },
    enqueue: async (...messages) => (await enqueue(db, messages, { now: rig.now, kept: rig.kept })).answers,
    async lease({ id = ++counter, leaseMs = 365 * 86_400_000, epoch = 'today' } = {}) {
      await exec(
        `insert into leases (id, holder, epoch, until, started_at) values ($1, 'test', $2, $3, 0)`,
        id,
        epoch,
        rig.now + leaseMs,
      )
      return id
    },
    async claim(account, lease, fields = {}) {
      const request: ClaimRequest = {
        accountKey: account.key,
        limit: 100,
        maxPriority: 3,
        dueBy: null,
        suspendedBatches: [],
        limits: [],
        now: rig.now,
        ...fields,
      }
      return (await claimDue(db, lease, rig.now, [request], { kept: rig.kept }))[0]!
    },
    async settle(claims, made, limits = [], fields = {}) {
      const settlements = claims.map(
        (claimed): Settlement => ({
          transition: nextTransition(claimed, ['b@y.test'], made, POLICY, rig.now, () => 0.5),
          claim: claimed.claim,
          tenantId: claimed.tenantId,
          limits,
          ...fields,
        }),
      )
      return claims.length === 0
        ? new Set()
        : settle(db, claims[0]!.lease, { now: rig.now, steadyNow: rig.now }, settlements)
    },
    journal: () => (dialect === 'sqlite' ? createFileJournal(temp.url) : createTableJournal(db, () => rig.now)),
    async row(id, tenantId = 'acme') {
      const [row] = await rows('select * from messages where tenant_id = $1 and id = $2', tenantId, id)
      if (row === undefined) throw new Error(`no message ${id} of ${tenantId}`)
      return row
    },
    rows,
    exec,
    async dump() {
      return {
        messages: await rows('select * from messages order by seq'),
        events: await rows('select * from events order by id'),
        buckets: await rows('select * from limit_buckets order by scope, span, slot'),
      }
    },
    async refuseToSettle(id) {
      const when = `old.id = '${id}' and old.stage = 3 and new.stage <> 3`
      if (dialect === 'sqlite') {
        await exec(`create trigger refuse before update on messages when ${when}
          begin select raise(abort, 'refused by a trigger'); end`)
        return () => exec('drop trigger refuse')
      }
      await exec(`create function refuse() returns trigger language plpgsql
        as 'begin raise exception ''refused by a trigger''; end'`)
      await exec(`create trigger refuse before update on messages
        for each row when (${when}) execute function refuse()`)
      return () => exec('drop function refuse cascade')
    },
    async clear() {
      await db.write(
        ['messages', 'events', 'limit_buckets', 'limit_scopes', 'leases', 'doubts', 'accounts'].map(table => ({
          sql: `delete from ${table}`,
          params: [],
        })),
      )
      rig.now = START
    },
  }
  return rig
}

const verdict = (kind: RecipientVerdict['verdict'], code: string | null, text: string | null): RecipientVerdict[] => [
  { address: 'b@y.test', verdict: kind, code, text },
]
const ATTEMPT: AttemptRecord = {
  n: 1,
  started_ts: 1,
  duration_ms: 5,
  remote: null,
  replies: [],
  final: null,
  error: null,
}

function outcome(verdicts: readonly RecipientVerdict[], fields: Partial<Outcome> = {}): Outcome {
  return { verdicts, failure: null, inDoubt: false, reachedData: true, interrupted: false, attempt: ATTEMPT, ...fields }
}

/** What one attempt at the single recipient b@y.test may come to. */
export const SENT = outcome(verdict('accepted', '250', '250 ok'))
export const REFUSED = outcome(verdict('refused', '550', '550 no'), { reachedData: false })
export const LATER = outcome(verdict('transient', '451', '451 later'))
export const INTERRUPTED = outcome(verdict('open', null, null), {
  interrupted: true,
  attempt: null,
  reachedData: false,
})

/** Puts many rows in directly: `ended` sent ones and `open` ready ones of one account, for plans and purges. */
export async function fill(
  rig: QueueRig,
  account: TestAccount,
  { ended, open }: { ended: number; open: number },
): Promise<void> {
  const chunk = 10_000
  const insert = async (count: number, prefix: string, status: string, stage: number) => {
    for (let from = 0; from < count; from += chunk) {
      const ids = Array.from({ length: Math.min(chunk, count - from) }, (_, i) => ({ i: `${prefix}${from + i}` }))
      await rig.exec(
        `insert into messages (tenant_id, id, account_key, account_id, status, stage, priority, due_at, submission,
            created_at, updated_at, sent_at, reported_at)
          select $2, g.i, $3, $4, $5, $6, 2, $7, 0, $7, $7, cast($8 as bigint), cast($8 as bigint) from @rows($1: i text) g`,
        rowsParam(ids),
        account.tenantId,
        account.key,
        account.id,
        status,
        stage,
        rig.now,
        stage === 0 ? rig.now : null,
      )
    }
  }
  await insert(ended, 'ended', 'sent', 0)
  await insert(open, 'open', 'pending', 1)
  await rig.exec(
    `insert into contents (seq, submission, envelope, content)
      select seq, submission, '{"from":"a@x.test","to":["b@y.test"]}', '{}' from messages where account_key = $1`,
    account.key,
  )
  await rig.exec(
    `insert into events (tenant_id, seq, type, at, entry, pending, reported_at)
      select tenant_id, seq, 'sent', $2, '{}', 0, $2 from messages where account_key = $1 and stage = 0`,
    account.key,
    rig.now,
  )
}
