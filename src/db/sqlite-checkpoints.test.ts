import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Db } from './db.js'
import { openSqlite } from './sqlite.js'
import { createCheckpoints } from './sqlite-checkpoints.js'
import { openDriver } from './sqlite-driver.js'

/** What makes the log long. */
const LONG = 2_000 * (8_192 + 24)
/** What a log may hold beside a writer as fast as the disk; what was written while others were copied is in it too. */
const BOUND = 7 * LONG
const ROW = 'x'.repeat(20_000)
const ROWS_OF_A_UNIT = 20
const UNIT = Array.from({ length: ROWS_OF_A_UNIT }, () => ({
  sql: 'insert into filled (content) values ($1)',
  params: [ROW],
}))

let dir: string
let path: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'gmp-'))
  path = join(dir, 'mail.db')
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const logBytes = () => statSync(`${path}-wal`).size

/** Several at a time, so that the log is written to while it is copied. */
async function fill(db: Db, units: number): Promise<void> {
  const writer = async () => {
    for (let n = 0; n < units / 4; n += 1) await db.write(UNIT)
  }
  await Promise.all([writer(), writer(), writer(), writer()])
}

async function count(db: Db): Promise<number> {
  const [row] = await db.read({ sql: 'select count(*) as n from filled', params: [] })
  return Number(row?.n)
}

it('the log stays short beside a writer that does not rest, and is in the database when that is closed', async () => {
  const db = await openSqlite(path)
  await db.write([{ sql: 'create table filled (content text)', params: [] }])
  await fill(db, 600)
  expect(logBytes()).toBeLessThan(BOUND)
  await db.close()
  expect(existsSync(`${path}-wal`)).toBe(false)
  const again = await openSqlite(path)
  expect(await count(again)).toBe(600 * ROWS_OF_A_UNIT)
  await again.close()
})

it('without a thread SQLite copies the log by itself', async () => {
  const writer = await openDriver(path, false)
  writer.exec('pragma page_size = 8192; pragma journal_mode = wal; create table filled (content text)')
  // Beside the sources there is no JavaScript that a thread could run.
  const checkpoints = createCheckpoints(writer, path)
  const insert = writer.prepare('insert into filled (content) values (?)')
  const write = () => {
    insert.all(ROW)
    checkpoints.committed()
  }
  // Prepared each time: the value stands in the statement.
  const isLeftToSqlite = () => Number(writer.prepare('pragma wal_autocheckpoint').all()[0]?.wal_autocheckpoint) > 0
  write()
  expect(isLeftToSqlite()).toBe(false)
  while (!isLeftToSqlite()) {
    write()
    await new Promise(setImmediate)
  }
  for (let n = 0; n < 10 && isLeftToSqlite(); n += 1) write()
  // It has begun anew, and a thread is tried again.
  expect(isLeftToSqlite()).toBe(false)
  await checkpoints.close()
  writer.close()
})
