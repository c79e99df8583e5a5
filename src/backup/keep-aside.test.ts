import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDriver, type SqliteConnection } from '../db/sqlite-driver.js'
import { freeName, keepAside } from './keep-aside.js'

let dir: string
let path: string
let aside: string
const open: SqliteConnection[] = []
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'gmp-aside-'))
  path = join(dir, 'mail.db')
  aside = join(dir, 'mail.db.aside')
  writeFileSync(`${path}.new`, 'the new one')
})
afterEach(() => {
  for (const each of open.splice(0)) each.close()
  rmSync(dir, { recursive: true })
})

const replace = () => renameSync(`${path}.new`, path)
const text = (name: string) => readFileSync(join(dir, name), 'utf8')

/** A database in WAL mode whose last commit stands in the log alone, as a killed process leaves it. */
async function killed(): Promise<void> {
  const other = join(dir, 'other')
  const database = await openDriver(other, false)
  open.push(database)
  database.exec('pragma journal_mode = wal; create table t (x); insert into t values (42)')
  for (const suffix of ['', '-wal']) writeFileSync(`${path}${suffix}`, readFileSync(`${other}${suffix}`))
}

async function rowsOf(file: string): Promise<unknown[]> {
  const database = await openDriver(file, true)
  open.push(database)
  return database
    .prepare('select x from t')
    .all()
    .map(row => row.x)
}

describe('keepAside', () => {
  it('keeps all of the old database in one file, with what stood in its log and its doubts', async () => {
    await killed()
    writeFileSync(`${path}-doubt.7.0`, '1\n')
    expect(await keepAside(path, aside, replace)).toEqual([aside])
    expect(await rowsOf(aside)).toEqual([42])
    expect(text('mail.db')).toBe('the new one')
    expect(readdirSync(dir).filter(name => name.startsWith('mail'))).toEqual(
      expect.arrayContaining(['mail.db', 'mail.db.aside', 'mail.db.aside-doubt.7.0']),
    )
    expect(readdirSync(dir)).not.toEqual(expect.arrayContaining(['mail.db-wal']))
  })

  it('leaves the old one usable under its name when it ends before the exchange', async () => {
    await killed()
    writeFileSync(`${path}-doubt.7.0`, '1\n')
    const stop = () => {
      throw new Error('killed')
    }
    await expect(keepAside(path, aside, stop)).rejects.toThrow('killed')
    expect(await rowsOf(path)).toEqual([42])
    expect(text('mail.db-doubt.7.0')).toBe('1\n')
    expect(readdirSync(dir)).not.toContain('mail.db.aside')
  })

  it('refuses while another has the old one open, and changes nothing', async () => {
    await killed()
    const other = await openDriver(path, false)
    open.push(other)
    other.exec('begin immediate; insert into t values (43)')
    await expect(keepAside(path, aside, replace)).rejects.toThrow('another command has')
    other.exec('commit')
    await expect(keepAside(path, aside, replace)).rejects.toThrow('another command has')
    expect(await rowsOf(path)).toEqual([42, 43])
    expect(text('mail.db.new')).toBe('the new one')
  })

  it('keeps the log of one that cannot be opened, so that the new one is not given it', async () => {
    writeFileSync(path, 'broken')
    writeFileSync(`${path}-wal`, 'its log')
    expect(await keepAside(path, aside, replace)).toEqual([aside])
    expect([text('mail.db.aside'), text('mail.db.aside-wal'), text('mail.db')]).toEqual([
      'broken',
      'its log',
      'the new one',
    ])
    expect(readdirSync(dir)).not.toContain('mail.db-wal')
  })

  it('moves a log without its database away', async () => {
    writeFileSync(`${path}-wal`, 'its log')
    expect(await keepAside(path, aside, replace)).toEqual([`${aside}-wal`])
    expect(text('mail.db.aside-wal')).toBe('its log')
  })
})

it('freeName numbers what is taken', () => {
  writeFileSync(aside, '')
  writeFileSync(`${aside}-2`, '')
  expect(freeName(aside)).toBe(`${aside}-3`)
  expect(freeName(join(dir, 'free'))).toBe(join(dir, 'free'))
})
