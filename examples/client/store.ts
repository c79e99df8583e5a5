/**
 * The application's database: its business (orders), and the outbox. A mail is written in the transaction of the order
 * that it is about, so that there is never one without the other; reports are written before they are acknowledged.
 */
import { randomUUID } from 'node:crypto'
// The same as node:sqlite, which Node has from 22.13 on.
import { DatabaseSync } from '@photostructure/sqlite'
import type { MessageInput, Rejected, ReportEntry } from 'genro-mail-proxy/client'

export interface OutboxRow {
  readonly id: string
  readonly order_id: number
  readonly state: 'waiting' | 'submitted' | 'deferred' | 'sent' | 'error'
  readonly error: string | null
  readonly created_ts: number
  readonly sent_ts: number | null
}

export interface Store {
  /** One order and its mail a customer; answers the mails' ids. */
  placeOrders(count: number, confirmation: Omit<MessageInput, 'id'>): string[]
  /** Mails that the proxy may not have yet, oldest first. */
  waiting(limit: number): MessageInput[]
  /** The proxy has them, or has said that it never will. */
  markSubmitted(messages: readonly MessageInput[], refused: readonly Rejected[]): void
  /** A report, as a whole or not at all; answers the ids that are not of this application. */
  record(entries: readonly ReportEntry[]): string[]
  counts(): Record<OutboxRow['state'], number>
  newest(limit: number): OutboxRow[]
  /** What was kept under this name, else what is made now. */
  secret(name: string, make: () => string): string
  keep(name: string, value: string): void
  close(): void
}

const SCHEMA = `
  pragma journal_mode = wal;
  pragma synchronous = full;
  create table if not exists orders (id integer primary key, created_ts integer not null);
  create table if not exists outbox (
    n integer primary key, id text not null unique, order_id integer not null references orders (id), message text not null,
    created_ts integer not null, submitted_ts integer, deferred_ts integer, sent_ts integer, error_ts integer, error text
  );
  create index if not exists outbox_waiting on outbox (n) where submitted_ts is null and sent_ts is null and error_ts is null;
  create table if not exists secrets (name text primary key, value text not null);
`
const STATE = `case when sent_ts is not null then 'sent' when error_ts is not null then 'error'
  when submitted_ts is null then 'waiting' when deferred_ts is not null then 'deferred' else 'submitted' end`

/** @throws where the file cannot be opened. */
export function openStore(path: string): Store {
  const db = new DatabaseSync(path)
  db.exec(SCHEMA)
  const run = (sql: string, ...values: (string | number)[]) => db.prepare(sql).run(...values)
  const rows = <T>(sql: string, ...values: (string | number)[]) => db.prepare(sql).all(...values) as T[]
  const now = () => Math.floor(Date.now() / 1000)
  const atomically = <T>(work: () => T): T => {
    db.exec('begin immediate')
    try {
      const result = work()
      db.exec('commit')
      return result
    } catch (error) {
      db.exec('rollback')
      throw error
    }
  }

  return {
    placeOrders(count, confirmation) {
      return atomically(() =>
        Array.from({ length: count }, () => {
          const order = Number(run('insert into orders (created_ts) values (?)', now()).lastInsertRowid)
          // The id makes submitting twice harmless, because it is kept with the mail. An order's number alone would be
          // the id of another mail once this database is made anew.
          const id = `order-${order}-${randomUUID()}`
          const message = JSON.stringify({ ...confirmation, id })
          run('insert into outbox (id, order_id, message, created_ts) values (?, ?, ?, ?)', id, order, message, now())
          return id
        }),
      )
    },
    waiting(limit) {
      const sql = `select message from outbox
        where submitted_ts is null and sent_ts is null and error_ts is null order by n limit ?`
      return rows<{ message: string }>(sql, limit).map(({ message }) => JSON.parse(message))
    },
    markSubmitted(messages, refused) {
      const reasons = new Map(refused.map(({ id, reason }) => [id, reason]))
      atomically(() => {
        for (const { id } of messages) {
          const reason = reasons.get(id)
          if (reason === undefined) run('update outbox set submitted_ts = ? where id = ?', now(), id)
          else run('update outbox set error_ts = ?, error = ? where id = ?', now(), reason, id)
        }
      })
    },
    record(entries) {
      return atomically(() => entries.filter(entry => !recorded(entry)).map(({ id }) => id))
    },
    counts() {
      const counts = { waiting: 0, submitted: 0, deferred: 0, sent: 0, error: 0 }
      const sql = `select ${STATE} as state, count(*) as n from outbox group by 1`
      for (const { state, n } of rows<{ state: OutboxRow['state']; n: number }>(sql)) counts[state] = n
      return counts
    },
    newest(limit) {
      const columns = `id, order_id, ${STATE} as state, error, created_ts, sent_ts`
      return rows<OutboxRow>(`select ${columns} from outbox order by n desc limit ?`, limit)
    },
    secret(name, make) {
      const [row] = rows<{ value: string }>('select value from secrets where name = ?', name)
      if (row !== undefined) return row.value
      const value = make()
      if (value !== '') this.keep(name, value)
      return value
    },
    keep(name, value) {
      run('insert into secrets values (?, ?) on conflict (name) do update set value = excluded.value', name, value)
    },
    close: () => db.close(),
  }

  /** The same entry twice changes nothing: reports come at least once. false: not a mail of ours. */
  function recorded({ id, sent_ts: sent, error_ts: failed, error, deferred_ts: deferred }: ReportEntry): boolean {
    // It may come before the answer to the submission does.
    const known = run('update outbox set submitted_ts = coalesce(submitted_ts, ?) where id = ?', now(), id).changes > 0
    if (sent !== undefined) run('update outbox set sent_ts = ?, error_ts = null, error = null where id = ?', sent, id)
    else if (failed !== undefined)
      run('update outbox set error_ts = ?, error = ? where id = ?', failed, error ?? '', id)
    else if (deferred !== undefined) run('update outbox set deferred_ts = ? where id = ?', deferred, id)
    return known
  }
}
