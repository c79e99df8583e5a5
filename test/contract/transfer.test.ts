/** SQLite to PostgreSQL: every row of every table arrives as it was, or nothing does. */
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Param, Row } from '../../src/db/db.js'
import { migrate } from '../../src/db/migrate.js'
import { needRelease, releaseNeeded } from '../../src/queue/release-mark.js'
import { LEFT_BEHIND, TABLES } from '../../src/transfer/tables.js'
import { type TransferOptions, transfer } from '../../src/transfer/transfer.js'
import { openTempDb, type TempDb } from '../support/temp-db.js'

let source: TempDb
let target: TempDb
beforeEach(async () => {
  source = await openTempDb('sqlite')
  target = await openTempDb('postgres', { migrated: false })
})
afterEach(async () => {
  await source.drop()
  await target.drop()
})

const options = (): TransferOptions => ({
  to: target.url,
  sourceName: '/data/mail_service.db',
  targetName: 'postgresql://db/mail',
  now: new Date(1_700_000_000_000),
  progress: () => {},
})
const run = (more: Partial<TransferOptions> = {}) => transfer(source.db, target.db, { ...options(), ...more })

const tables = [...TABLES.map(table => table.name)]
const OWN_OF_A_SIDE = ['schema_version', 'steady_base', 'release_needed']

/** Every row with every column, independent of the code under test, in an order of its own. */
async function contentsOf({ db }: TempDb): Promise<Record<string, string[]>> {
  const contents: Record<string, string[]> = {}
  for (const table of tables) {
    const rows = (await db.read({ sql: `select * from ${table}`, params: [] })).filter(
      row => table !== 'meta' || !OWN_OF_A_SIDE.includes(row.key as string),
    )
    contents[table] = rows.map(asText).sort()
  }
  return contents
}

function asText(row: Row): string {
  const plain = Object.entries(row).map(([name, value]) => [
    name,
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
  ])
  return JSON.stringify(plain.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)))
}

const ODD = `quote ' back \\ "double" $1 @now($1) tab\t line\n ù 漢 😀 \u2028 end`

/**
 * Rows in every table, with values of every column's type: what no story brings together. Keys are far apart, so that
 * they are taken over and not given anew.
 */
async function fill({ db }: TempDb, rows = 3): Promise<void> {
  for (const { name } of TABLES) {
    const columns = await db.read({ sql: `select name, type, "notnull" from pragma_table_info('${name}')`, params: [] })
    for (let n = 1; n <= rows; n += 1) {
      const values = columns.map(column => sampleOf(name, column, n))
      const names = columns.map(column => `"${column.name}"`).join(', ')
      await db.write([
        {
          sql: `insert into ${name} (${names}) values (${values.map((_, i) => `$${i + 1}`).join(', ')})`,
          params: values,
        },
      ])
    }
  }
}

function sampleOf(table: string, { name, type, notnull }: Row, n: number): Param {
  const column = String(name)
  if (column === 'tenant_id') return `tenant ${n}`
  if (table === 'tenants' && column === 'id') return `tenant ${n}`
  if (column === 'account_id' || (table === 'accounts' && column === 'id')) return `account ${n}`
  if (column === 'store' || column === 'digest') return `digest ${n}`
  if (column === 'seq' || column === 'upload' || (table === 'uploads' && column === 'id')) return n * 1_000
  // Without a value where there may be none.
  if (n === 2 && notnull === 0 && ['name', 'password', 'expires_at', 'sent_at', 'attempt', 'timezone'].includes(column))
    return null
  switch (String(type).toLowerCase()) {
    case 'blob':
      return Uint8Array.from({ length: 300 }, (_, i) => (i * n) % 256)
    case 'text':
      return `${table}.${column} ${n} ${ODD}`
    case 'smallint':
      return n
    default:
      return 1_700_000_000_000 + n * 1_000_003
  }
}

describe('a transfer', () => {
  it('carries every row of every table over by value, and says so itself', async () => {
    await fill(source)
    const before = await contentsOf(source)
    for (const [table, rows] of Object.entries(before)) expect(rows, table).toHaveLength(3)
    const done = await run()
    const after = await contentsOf(target)
    // Leases of a source that was killed are over; nobody trusts their journal.
    const { leases, ...rest } = after
    const { leases: old, ...others } = before
    expect(rest).toEqual(others)
    expect(leases).toHaveLength(old!.length)
    expect(await target.db.read({ sql: 'select distinct until, epoch from leases', params: [] })).toEqual([
      { until: 0, epoch: 'transferred' },
    ])
    expect(done.rows).toBe(TABLES.length * 3)
    expect(new Set(Object.values(done.tables).map(({ sha256 }) => sha256)).size).toBe(TABLES.length)
  })

  it('knows every table of the schema', async () => {
    const rows = await source.db.read({
      sql: "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'",
      params: [],
    })
    expect(rows.map(row => row.name).sort()).toEqual([...tables, ...LEFT_BEHIND].sort())
    await source.db.write([{ sql: 'create table notes (x text)', params: [] }])
    await expect(run()).rejects.toThrow("has tables that are not mail-proxy's: notes")
  })

  it('reads large contents and many rows page by page', async () => {
    await fill(source, 1)
    const parts = Array.from({ length: 30 }, (_, i) => ({
      sql: 'insert into upload_parts (upload, part, data) values (1000, $1, $2)',
      params: [i + 2, Buffer.alloc(700_000, i)] as Param[],
    }))
    await source.db.write([{ sql: 'delete from upload_parts', params: [] }, ...parts])
    const many = JSON.stringify(Array.from({ length: 5_000 }, (_, i) => ({ s: `scope ${i}` })))
    await source.db.write([
      { sql: 'insert into limit_scopes (scope) select g.s from @rows($1: s text) g', params: [many] },
    ])
    const pages: Record<string, number> = {}
    await run({ progress: table => (pages[table] = (pages[table] ?? 0) + 1) })
    expect(await contentsOf(target)).toMatchObject({
      upload_parts: (await contentsOf(source)).upload_parts,
      limit_scopes: (await contentsOf(source)).limit_scopes,
    })
    expect(pages).toMatchObject({ upload_parts: 5, limit_scopes: 3, tenants: 1 })
  })

  it('gives keys on from where the old database was, also where the last rows are gone', async () => {
    await fill(source)
    await source.db.write([{ sql: 'delete from events where id > 1700000002000000', params: [] }])
    const [last] = await source.db.read({ sql: "select seq from sqlite_sequence where name = 'events'", params: [] })
    await run()
    const [[row]] = (await target.db.write([
      {
        sql: `insert into events (tenant_id, seq, type, at, entry, pending) values ('t', 1, 'sent', 1, '{}', 0) returning id`,
        params: [],
      },
    ])) as [Row[]]
    expect(row!.id).toBe(Number(last!.seq) + 1)
  })

  it('does not forget why the old one was marked already', async () => {
    await needRelease(source.db, 'it was restored')
    await run()
    for (const { db } of [source, target])
      expect(await releaseNeeded(db)).toMatch(/^its rows.*; before that: it was restored$/)
  })

  it('marks both: neither sends before it is released', async () => {
    await run()
    expect(await releaseNeeded(target.db)).toBe(
      'its rows were transferred at 2023-11-14T22:13:20.000Z from /data/mail_service.db, which must not send any more',
    )
    expect(await releaseNeeded(source.db)).toBe(
      'its rows were transferred at 2023-11-14T22:13:20.000Z to postgresql://db/mail, which goes on in its place: release this one only when that one is given up',
    )
  })
})

describe('a transfer is refused, and changes nothing,', () => {
  it('when any table of the target has a row', async () => {
    await migrate(target.db)
    await fill(source)
    for (const [insert, table] of [
      ["insert into limit_scopes (scope) values ('a:1')", 'limit_scopes'],
      ["insert into meta (key, value) values ('key_check', 'x')", 'meta'],
      ["insert into journal_epoch (one, epoch) values (1, 'x')", 'journal_epoch'],
    ] as const) {
      await target.db.write([{ sql: insert, params: [] }])
      await expect(run()).rejects.toThrow(`is not empty (there are rows in ${table})`)
      await target.db.write([
        { sql: `delete from ${table} ${table === 'meta' ? "where key <> 'schema_version'" : ''}`, params: [] },
      ])
    }
    expect((await contentsOf(target)).messages).toEqual([])
    expect(await releaseNeeded(source.db)).toBeNull()
    // Emptied again it will do.
    await run()
  })

  it('when the target is of another program, or of a newer version', async () => {
    const client = new pg.Client({ connectionString: target.url })
    await client.connect()
    await client.query('create table messages (id text)')
    await expect(run()).rejects.toThrow('holds tables of another program')
    await client.query('drop table messages')
    await migrate(target.db)
    await client.query("update meta set value = '99' where key = 'schema_version'")
    await expect(run()).rejects.toThrow('the database has schema 99, newer than this version knows')
    await client.end()
  })

  it('when the source has another schema', async () => {
    for (const [version, words] of [
      ['99', 'has schema 99, newer than this version knows'],
      ['0', 'holds no tables of mail-proxy yet'],
    ] as const) {
      await source.db.write([{ sql: "update meta set value = $1 where key = 'schema_version'", params: [version] }])
      await expect(run()).rejects.toThrow(words)
    }
  })

  it('when it breaks off half-way: what had arrived is gone, and it can be made again', async () => {
    await fill(source)
    const stop = (table: string) => {
      if (table === 'events') throw new Error('the plug was pulled')
    }
    await expect(run({ progress: stop })).rejects.toThrow('the plug was pulled')
    const half = await contentsOf(target)
    expect(Object.values(half).flat()).toEqual([])
    expect(await releaseNeeded(source.db)).toBeNull()
    await run()
    expect((await contentsOf(target)).events).toEqual((await contentsOf(source)).events)
  })

  it('when a value does not fit, and says of which table', async () => {
    await fill(source)
    await source.db.write([{ sql: "update rules set interval_minutes = 'soon' where id > 0", params: [] }])
    await expect(run()).rejects.toThrow('the rows of rules were not taken: invalid input syntax for type bigint')
    expect((await contentsOf(target)).tenants).toEqual([])
  })

  it('when a value arrives altered', async () => {
    await fill(source)
    await migrate(target.db)
    // Stands for whatever may change a value on its way.
    await target.db.write([
      {
        sql: `create function spoil() returns trigger language plpgsql
          as 'begin new.used := new.used + 1; return new; end'`,
        params: [],
      },
      { sql: 'create trigger spoil before insert on limit_buckets for each row execute function spoil()', params: [] },
    ])
    await expect(run()).rejects.toThrow('the rows of limit_buckets arrived altered: 3 of 3 are there')
    expect((await contentsOf(target)).tenants).toEqual([])
  })
})
