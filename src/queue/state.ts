/**
 * The queue at a glance, for metrics: how many messages stand where, and how long what is due has been due. One
 * statement over the partial indexes: it costs by what is open (26 ms for 100,000 on SQLite, measured) and not by what was sent.
 */
import type { Db, Row } from '../db/db.js'
import { Stage } from './stage.js'

/** How long a message has been due, seconds from and below. */
export const AGES = [
  { name: '0-1m', from: 0, below: 60 },
  { name: '1-5m', from: 60, below: 300 },
  { name: '5-15m', from: 300, below: 900 },
  { name: '15m-1h', from: 900, below: 3600 },
  { name: '1-6h', from: 3600, below: 21_600 },
  { name: '6h+', from: 21_600, below: Number.POSITIVE_INFINITY },
] as const

export interface QueueState {
  /** Due and not yet claimed, also where a limit, a rule, a pause or a suspension holds it back. */
  readonly due: number
  /** Not before their time: scheduled or to be tried again. */
  readonly waiting: number
  readonly sending: number
  readonly inDoubt: number
  /** Due messages by age, as AGES names them. */
  readonly byAge: ReadonlyMap<string, number>
  /** Epoch ms since when the oldest of them is due; null: none is. */
  readonly oldestDueAt: number | null
  /** Accounts that have any, the longest waiting first. */
  readonly accounts: readonly DueOfAccount[]
}

export interface DueOfAccount {
  readonly accountKey: number
  readonly tenantId: string
  readonly accountId: string
  readonly due: number
  readonly oldestDueAt: number
}

// Of every age but the first how many are at least that old; `$1` is now, the others how far back it begins.
const OLDER = AGES.slice(1).map((_, i) => `count(case when due_at <= $${i + 2} then 1 end) as older${i + 1}`)
const NONE = AGES.slice(1).map(() => '0')
const dueSql = (where: string) =>
  `select ${Stage.ready} as stage, account_key, count(*) as n, min(due_at) as oldest, ${OLDER.join(', ')}
    from messages where ${where} group by account_key`
const countSql = (stage: Stage, where = '') =>
  `select ${stage}, 0, count(*), 0, ${NONE.join(', ')} from messages where stage = ${stage} ${where}`

export async function readQueueState(db: Db, now: number): Promise<QueueState> {
  const rows = await db.read({
    // Waiting ones whose time has come are due too: that they stay there tells that nobody dispatches.
    sql: `select q.*, a.tenant_id, a.id from (
        ${dueSql('stage = 1')} union all ${dueSql('stage = 2 and due_at <= $1')}
        union all ${countSql(Stage.waiting, 'and due_at > $1')}
        union all ${countSql(Stage.claimed)} union all ${countSql(Stage.doubt)}
      ) q left join accounts a on a.key = q.account_key`,
    params: [now, ...AGES.slice(1).map(({ from }) => now - from * 1000)],
  })
  const countOf = (stage: Stage) => Number(rows.find(row => Number(row.stage) === stage)?.n ?? 0)
  const due = rows.filter(row => Number(row.stage) === Stage.ready)
  const accounts = dueByAccount(due)
  return {
    due: sum(due, 'n'),
    waiting: countOf(Stage.waiting),
    sending: countOf(Stage.claimed),
    inDoubt: countOf(Stage.doubt),
    byAge: new Map(
      AGES.map(({ name }, i) => {
        const atLeast = i === 0 ? sum(due, 'n') : sum(due, `older${i}`)
        return [name, atLeast - (i === AGES.length - 1 ? 0 : sum(due, `older${i + 1}`))]
      }),
    ),
    oldestDueAt: accounts[0]?.oldestDueAt ?? null,
    accounts,
  }
}

function sum(rows: readonly Row[], column: string): number {
  return rows.reduce((total, row) => total + Number(row[column]), 0)
}

function dueByAccount(rows: readonly Row[]): DueOfAccount[] {
  const found = new Map<number, DueOfAccount>()
  for (const row of rows) {
    const known = found.get(Number(row.account_key))
    found.set(Number(row.account_key), {
      accountKey: Number(row.account_key),
      // An account that is being deleted has no name any more, and its messages are about to end.
      tenantId: (row.tenant_id as string | null) ?? '',
      accountId: (row.id as string | null) ?? '',
      due: Number(row.n) + (known?.due ?? 0),
      oldestDueAt: Math.min(Number(row.oldest), known?.oldestDueAt ?? Number.POSITIVE_INFINITY),
    })
  }
  return [...found.values()].sort((a, b) => a.oldestDueAt - b.oldestDueAt)
}
