/**
 * The example application's outbox: a table in its own SQLite file. A mail is written here before anybody is asked to
 * send it, and what became of it is written here before the report is acknowledged; so neither side's crash loses any.
 */
import { openDriver } from '../src/db/sqlite-driver.js'
import type { Mail } from './messages.js'

/** An entry of a delivery report, as far as this application reads it. */
export interface ReportEntry {
  readonly id: string
  readonly sent_ts?: number
  readonly error_ts?: number
  readonly error?: string
  readonly code?: string | null
  readonly deferred_ts?: number
  readonly deferred_reason?: string | null
  readonly recipients?: readonly { readonly address: string; readonly status: string; readonly reply: string | null }[]
}

export interface OutboxRow {
  readonly id: string
  readonly mail: Mail
  readonly proxied: boolean
  readonly sentTs: number | null
  readonly errorTs: number | null
  readonly error: string | null
  /** When the service will try next, Unix seconds; null: it said nothing of the kind. */
  readonly deferredTs: number | null
}

export interface Outbox {
  write(mails: readonly Mail[]): void
  /** Mails the service does not have yet, oldest first. */
  unsubmitted(limit: number): Mail[]
  markProxied(ids: readonly string[]): void
  /** The service will never send this one; `reason` is its own. */
  markRejected(id: string, reason: string): void
  /** Records a delivery report as a whole or not at all; answers the ids it does not know. */
  record(entries: readonly ReportEntry[]): string[]
  rows(): OutboxRow[]
  /** Mails the service has and has not told the end of. */
  open(): number
  /** All entries received, in order. */
  reports(): ReportEntry[]
  close(): void
}

export async function openOutbox(path: string): Promise<Outbox> {
  const db = await openDriver(path, false)
  db.exec(`
    pragma journal_mode = wal;
    pragma synchronous = full;
    create table outbox (
      n integer primary key, id text not null unique, mail text not null, proxied_ts integer,
      sent_ts integer, error_ts integer, error text, deferred_ts integer
    );
    create table report (n integer primary key, entry text not null);
  `)
  const now = () => Math.floor(Date.now() / 1000)
  const run = (sql: string, ...params: (string | number | null)[]) => db.prepare(sql).all(...params)
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
  const isKnown = (id: string) => run('select 1 from outbox where id = ?', id).length > 0

  return {
    write(mails) {
      atomically(() => {
        for (const mail of mails) run('insert into outbox (id, mail) values (?, ?)', mail.id, JSON.stringify(mail))
      })
    },
    unsubmitted(limit) {
      const rows = run(
        'select mail from outbox where proxied_ts is null and error_ts is null order by n limit ?',
        limit,
      )
      return rows.map(row => JSON.parse(row.mail as string) as Mail)
    },
    markProxied(ids) {
      atomically(() => {
        for (const id of ids) run('update outbox set proxied_ts = ? where id = ?', now(), id)
      })
    },
    markRejected(id, reason) {
      run('update outbox set error_ts = ?, error = ? where id = ?', now(), reason, id)
    },
    record(entries) {
      return atomically(() => {
        const unknown: string[] = []
        for (const entry of entries) {
          run('insert into report (entry) values (?)', JSON.stringify(entry))
          if (isKnown(entry.id)) update(entry)
          else unknown.push(entry.id)
        }
        return unknown
      })
    },
    rows() {
      return run('select * from outbox order by n').map(row => ({
        id: row.id as string,
        mail: JSON.parse(row.mail as string) as Mail,
        proxied: row.proxied_ts !== null,
        sentTs: row.sent_ts as number | null,
        errorTs: row.error_ts as number | null,
        error: row.error as string | null,
        deferredTs: row.deferred_ts as number | null,
      }))
    },
    open() {
      const [row] = run(
        'select count(*) as n from outbox where proxied_ts is not null and sent_ts is null and error_ts is null',
      )
      return Number(row!.n)
    },
    reports() {
      return run('select entry from report order by n').map(row => JSON.parse(row.entry as string) as ReportEntry)
    },
    close: () => db.close(),
  }

  /** Writing the same end twice changes nothing, because a report whose answer got lost comes again. */
  function update({ id, sent_ts, error_ts, error, deferred_ts }: ReportEntry): void {
    if (sent_ts !== undefined) run('update outbox set sent_ts = ?, deferred_ts = null where id = ?', sent_ts, id)
    else if (error_ts !== undefined) {
      run('update outbox set error_ts = ?, error = ?, deferred_ts = null where id = ?', error_ts, error ?? '', id)
    } else if (deferred_ts !== undefined) run('update outbox set deferred_ts = ? where id = ?', deferred_ts, id)
  }
}
