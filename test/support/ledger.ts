/**
 * The ledger of a fault test, kept on four sides: what the client was told is queued, what the SMTP sinks accepted (by
 * X-Genro-Mail-ID), the reports the tenant's sink acknowledged, and the rows of the database. balance() compares them.
 */
import type { Db, Row } from '../../src/db/db.js'
import { openPostgres } from '../../src/db/postgres.js'
import { openSqlite } from '../../src/db/sqlite.js'
import { accept, type HttpSink, type SinkAnswer, type SinkRequest, startHttpSink } from './http-sink.js'
import { silentLog } from './silent-log.js'
import type { SmtpSink } from './smtp-sink.js'

/** Ids of messages with this fault; a fault nobody has is absent, so that a balanced ledger equals {}. */
export type Problems = Partial<Record<Problem, string[]>>

export type Problem =
  /** Told queued, and there is no row, or one that says sent of what no sink has. */
  | 'lost'
  | 'unfinished'
  /** Accepted by a sink more often than once and once for each in_doubt event. */
  | 'doubledWithoutDoubt'
  | 'withoutFinalReport'
  /** Two final reports that differ. The same one again is what a report posted at least once may do. */
  | 'twoFinalReports'
  | 'twoFinalEvents'
  /** At a sink or in a report, though the client never heard of them. */
  | 'strangers'

export interface Balance {
  readonly problems: Problems
  /** Accepted by a sink twice or more often. */
  readonly doubled: readonly string[]
  /** With an in_doubt event. */
  readonly doubts: readonly string[]
  /** Whose final report was acknowledged more than once, each time the same. */
  readonly repeatedReports: readonly string[]
  /** How many rows stand in each status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Still under a lease. */
  readonly claimed: number
}

export interface Ledger {
  /** Ids the client was told are queued. */
  readonly queued: Set<string>
  readonly sinks: SmtpSink[]
  readonly reports: HttpSink
  /** How the tenant's sink answers from now on. */
  answerReports(answer: (request: SinkRequest, index: number) => SinkAnswer | Promise<SinkAnswer>): void
  /** How often each id was accepted by the sinks. */
  deliveries(): Map<string, number>
  /** Queued ids without an acknowledged final report. */
  waiting(): string[]
  balance(databaseUrl: string): Promise<Balance>
  close(): Promise<void>
}

type Entry = Readonly<Record<string, unknown>> & { readonly id: string }

export async function openLedger(...sinks: SmtpSink[]): Promise<Ledger> {
  const queued = new Set<string>()
  /** id → each acknowledged final entry as text, as often as it came. */
  const finals = new Map<string, string[]>()
  let answer: (request: SinkRequest, index: number) => SinkAnswer | Promise<SinkAnswer> = () => accept
  const reports = await startHttpSink(async (request, index) => {
    const given = await answer(request, index)
    await given.after
    if (isAcknowledgement(given)) for (const entry of entriesOf(request)) note(entry)
    return given
  })

  const note = (entry: Entry) => {
    if (!('sent_ts' in entry) && !('error_ts' in entry)) return
    const known = finals.get(entry.id)
    if (known === undefined) finals.set(entry.id, [JSON.stringify(entry)])
    else known.push(JSON.stringify(entry))
  }

  const deliveries = () => {
    const counts = new Map<string, number>()
    for (const sink of sinks) {
      for (const { raw } of sink.messages) {
        const id = mailIdOf(raw)
        counts.set(id, (counts.get(id) ?? 0) + 1)
      }
    }
    return counts
  }

  return {
    queued,
    sinks,
    reports,
    answerReports(with_) {
      answer = with_
    },
    deliveries,
    waiting: () => [...queued].filter(id => !finals.has(id)),
    async balance(databaseUrl) {
      const rows = await readRows(databaseUrl)
      const delivered = deliveries()
      const of = (id: string) => rows.get(id)
      const known = [...new Set([...queued, ...rows.keys()])]
      const everyone = [...new Set([...delivered.keys(), ...finals.keys(), ...rows.keys()])]
      const found: Record<Problem, string[]> = {
        lost: [...queued].filter(id => {
          const row = of(id)
          return row === undefined || (row.status === 'sent' && !delivered.has(id))
        }),
        unfinished: known.filter(id => (of(id)?.stage ?? 0) !== 0),
        doubledWithoutDoubt: known.filter(id => (delivered.get(id) ?? 0) > 1 + (of(id)?.doubts ?? 0)),
        withoutFinalReport: [...queued].filter(id => !finals.has(id)),
        twoFinalReports: [...finals].filter(([, texts]) => new Set(texts).size > 1).map(([id]) => id),
        twoFinalEvents: known.filter(id => (of(id)?.finalEvents ?? 0) > 1),
        strangers: everyone.filter(id => !queued.has(id)),
      }
      const statuses: Record<string, number> = {}
      for (const { status } of rows.values()) statuses[status] = (statuses[status] ?? 0) + 1
      return {
        problems: Object.fromEntries(Object.entries(found).filter(([, ids]) => ids.length > 0)),
        doubled: [...delivered].filter(([, times]) => times > 1).map(([id]) => id),
        doubts: [...rows].filter(([, row]) => row.doubts > 0).map(([id]) => id),
        repeatedReports: [...finals].filter(([, texts]) => texts.length > new Set(texts).size).map(([id]) => id),
        statuses,
        claimed: [...rows.values()].filter(row => row.stage === 3).length,
      }
    },
    close: () => reports.close(),
  }
}

/** A look into the database beside the service; works on a running one too. */
export async function readDatabase(databaseUrl: string, sql: string): Promise<Row[]> {
  const db: Db = databaseUrl.startsWith('postgres')
    ? await openPostgres(databaseUrl, { clock: 'database', poolSize: 2, log: silentLog })
    : await openSqlite(databaseUrl)
  try {
    return await db.read({ sql, params: [] })
  } finally {
    await db.close()
  }
}

interface LedgerRow {
  readonly status: string
  readonly stage: number
  readonly doubts: number
  readonly finalEvents: number
}

async function readRows(databaseUrl: string): Promise<Map<string, LedgerRow>> {
  // Joined here: PostgreSQL joins what has grown since its last look at it row by row, which after a long soak took minutes.
  const messages = await readDatabase(databaseUrl, 'select seq, id, status, stage from messages')
  const events = await readDatabase(
    databaseUrl,
    `select seq, sum(case when type = 'in_doubt' then 1 else 0 end) as doubts,
        sum(case when type in ('sent', 'error', 'cancelled') then 1 else 0 end) as finals
      from events group by seq`,
  )
  const bySeq = new Map(events.map(row => [row.seq, row]))
  return new Map(
    messages.map(({ seq, id, status, stage }) => [
      id as string,
      {
        status: status as string,
        stage: Number(stage),
        doubts: Number(bySeq.get(seq)?.doubts ?? 0),
        finalEvents: Number(bySeq.get(seq)?.finals ?? 0),
      },
    ]),
  )
}

function entriesOf({ json }: SinkRequest): readonly Entry[] {
  return (json as { delivery_report?: readonly Entry[] } | undefined)?.delivery_report ?? []
}

function isAcknowledgement({ status = 200, body, close, hang }: SinkAnswer): boolean {
  return status < 300 && close !== true && hang === undefined && (body as { ok?: unknown } | undefined)?.ok === true
}

function mailIdOf(raw: Buffer): string {
  const [, id] = /^X-Genro-Mail-ID: (.*)\r$/m.exec(raw.toString('latin1', 0, 4096)) ?? []
  return id ?? 'without an id'
}
