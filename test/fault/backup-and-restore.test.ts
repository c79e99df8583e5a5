/** Backups beside a service at work, and commands that are killed or meet a full disk: nothing half, nothing lost. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openDriver, type SqliteConnection } from '../../src/db/sqlite-driver.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { runCommand, tempDir } from '../support/process.js'
import { TEST_KEY } from '../support/secrets.js'
import { openWorld, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 240_000 })

const SMALL_RESERVE = { GMP_MIN_FREE_MB: '1' }

/** Asks the file itself, without the code under test. */
async function look<T>(path: string, ask: (database: SqliteConnection) => T): Promise<T> {
  const database = await openDriver(path, true)
  try {
    return ask(database)
  } finally {
    database.close()
  }
}

const integrity = (database: SqliteConnection) => database.prepare('pragma integrity_check').all()[0]?.integrity_check
const idsIn = (database: SqliteConnection) =>
  new Set(
    database
      .prepare('select id from messages')
      .all()
      .map(row => row.id as string),
  )

describe('while the service accepts and sends', () => {
  let world: World
  afterEach(() => world.close())

  it('each backup holds all that was acknowledged before it began, whole; and the mail goes on', async () => {
    world = await openWorld('sqlite')
    await world.start()
    await world.account({ max_connections: 5 })
    const enough = new AbortController()
    const client = (async () => {
      for (let n = 0; !enough.signal.aborted; n += 1) {
        await world.submit(
          Array.from({ length: 20 }, (_, i) => `m${n}-${i}`),
          { stop: enough.signal },
        )
      }
    })()
    const backups: { file: string; before: Set<string> }[] = []
    await until('mail goes out', () => world.sink.accepted > 50)
    for (let n = 0; n < 4; n += 1) {
      const before = new Set(world.ledger.queued)
      const file = join(world.dir, `backup-${n}`)
      const env = { ...SMALL_RESERVE, GMP_DB_PATH: world.databaseUrl }
      const { code, err } = await runCommand({ dir: world.dir, args: ['default', 'backup', file], env })
      expect([code, err]).toEqual([0, ''])
      backups.push({ file, before })
    }
    const sentMeanwhile = world.sink.accepted
    enough.abort()
    await client
    expect(sentMeanwhile).toBeGreaterThan(50)
    for (const { file, before } of backups) {
      const { found, whole, claims, reason } = await look(file, database => ({
        found: idsIn(database),
        whole: integrity(database),
        claims: database
          .prepare('select distinct epoch from leases')
          .all()
          .map(row => row.epoch),
        reason: database.prepare("select value from meta where key = 'release_needed'").all()[0]?.value,
      }))
      expect(whole).toBe('ok')
      expect([...before].filter(id => !found.has(id))).toEqual([])
      expect(before.size).toBeGreaterThan(50)
      expect(claims).toEqual(['backup'])
      expect(reason).toContain('may have been sent since')
      expect(existsSync(`${file}-wal`)).toBe(false)
    }
    // The four saw a database at work, not one at rest.
    expect(new Set(backups.map(({ before }) => before.size)).size).toBe(4)
    await world.drained(120_000)
    expect((await world.ledger.balance(world.databaseUrl)).problems).toEqual({})
  })
})

describe('killed or out of room', () => {
  let dir: string
  let remove: () => Promise<void>
  let data: string
  let database: string
  let env: Record<string, string>
  beforeEach(async () => {
    ;({ dir, remove } = await tempDir())
    data = join(dir, 'data')
    database = join(data, 'mail_service.db')
    env = { ...SMALL_RESERVE, GMP_DB_PATH: database, GMP_ENCRYPTION_KEY: TEST_KEY }
    mkdirSync(data)
    await command('default', 'migrate')
    fill(database, 'old', 60)
  })
  afterEach(() => remove())

  const command = async (...args: string[]) => {
    const end = await runCommand({ dir, args, env })
    if (end.code !== 0) throw new Error(`${args.join(' ')}: ${end.code} ${end.err}`)
    return end.out
  }

  /**
   * Messages of 1 MB, so that copying takes a while; their ids begin with `prefix`. In a process of its own: one driver
   * keeps a database open that was asked by prepared statements, and a restore asks that nobody else has it open.
   */
  function fill(path: string, prefix: string, count: number): void {
    const program = `
      import { openDriver } from ${JSON.stringify(new URL('../../dist/db/sqlite-driver.js', import.meta.url).href)}
      const into = await openDriver(${JSON.stringify(path)}, false)
      into.exec("pragma synchronous = off; delete from messages; delete from meta where key = 'release_needed'; begin")
      const message = into.prepare(\`insert into messages (tenant_id, id, account_key, account_id, status, stage,
        priority, due_at, submission, created_at, updated_at) values ('t', ?1, 1, 'a', 'sent', 0, 2, 0, 1, 0, 0)\`)
      const content = into.prepare(\`insert into contents (seq, submission, envelope, content)
        values (last_insert_rowid(), 0, '{}', hex(randomblob(500000)))\`)
      for (let n = 0; n < ${count}; n += 1) {
        message.all('${prefix}-' + n)
        content.all()
      }
      into.exec('commit')`
    execFileSync(process.execPath, ['--input-type=module', '-e', program], { stdio: 'pipe' })
  }

  /** What it is full of, asked of a copy. */
  const kind = (path: string) => {
    const copy = join(dir, 'looked-at')
    for (const suffix of ['', '-wal']) {
      rmSync(`${copy}${suffix}`, { force: true })
      if (existsSync(`${path}${suffix}`)) copyFileSync(`${path}${suffix}`, `${copy}${suffix}`)
    }
    rmSync(`${copy}-shm`, { force: true })
    return look(copy, opened => {
      expect(integrity(opened)).toBe('ok')
      return [...new Set([...idsIn(opened)].map(id => id.split('-')[0]))].join()
    })
  }

  /** At which parts of the time a command takes it is killed. */
  const MOMENTS = [0.25, 0.45, 0.6, 0.7, 0.8, 0.9, 0.96]

  it('a backup leaves nothing under its name, and the database as it was', async () => {
    const began = performance.now()
    await command('default', 'backup', join(dir, 'whole'))
    const took = performance.now() - began
    let cut = 0
    for (const [n, moment] of MOMENTS.entries()) {
      const file = join(dir, `cut-${n}`)
      const { code } = await runCommand({ dir, args: ['default', 'backup', file], env }, took * moment)
      if (code === null && !existsSync(file)) cut += 1
      else expect(await kind(file)).toBe('old')
    }
    // Otherwise nothing was killed in its work.
    expect(cut).toBeGreaterThan(0)
    expect(await kind(database)).toBe('old')
    await command('default', 'backup', join(dir, 'after'))
    expect(await kind(join(dir, 'after'))).toBe('old')
  })

  it('a restore leaves the old database or the new one, each whole, and the old one is never gone', async () => {
    const other = join(dir, 'other.db')
    copyFileSync(database, other)
    fill(other, 'new', 60)
    env = { ...env, GMP_DB_PATH: other }
    await command('default', 'backup', join(dir, 'new.backup'))
    env = { ...env, GMP_DB_PATH: database }

    const args = ['default', 'restore', join(dir, 'new.backup'), '--force']
    const began = performance.now()
    await command(...args)
    const took = performance.now() - began
    expect(await kind(database)).toBe('new')
    const [aside] = readdirSync(data).filter(name => /before-restore-\w+$/.test(name))
    rmSync(database)
    copyFileSync(join(data, aside!), database)
    rmSync(join(data, aside!))

    const found: string[] = []
    for (const moment of MOMENTS) {
      await runCommand({ dir, args, env }, took * moment)
      const now = await kind(database)
      found.push(now)
      if (now === 'new') {
        const kept = readdirSync(data).filter(name => /before-restore-\w+$/.test(name))
        expect(await kind(join(data, kept.at(-1)!))).toBe('old')
        for (const name of kept.slice(0, -1)) rmSync(join(data, name))
        rmSync(database)
        copyFileSync(join(data, kept.at(-1)!), database)
      }
    }
    expect(found).toContain('old')
    await command(...args)
    expect(await kind(database)).toBe('new')
    expect(readdirSync(data).filter(name => name.includes('restoring'))).toEqual([])
  })

  it('a transfer leaves an empty PostgreSQL and a source that may still send, or has done all of it', async () => {
    const counts = async (url: string) => {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      const { rows } = await client.query(`select (select count(*)::int from contents) as contents,
        (select count(*)::int from meta where key = 'release_needed') as marked`)
      await client.end()
      return rows[0] as { contents: number; marked: number }
    }
    const args = (to: string) => ['default', 'transfer', '--to', to]
    fill(database, 'old', 12)
    const began = performance.now()
    await command(...args(await createPostgresDatabase()))
    const took = performance.now() - began
    let cut = 0
    for (const moment of [0.5, 0.65, 0.8]) {
      fill(database, 'old', 12)
      const to = await createPostgresDatabase()
      // A database elsewhere needs a folder of the instance.
      mkdirSync(join(dir, 'instances', 'default'), { recursive: true })
      const migrated = await runCommand({ dir, args: ['default', 'migrate'], env: { ...env, GMP_DB_PATH: to } })
      expect(migrated).toMatchObject({ code: 0, err: '' })
      const { code } = await runCommand({ dir, args: args(to), env }, took * moment)
      const info = JSON.parse(await command('default', 'info', '--json')) as { release_needed?: string }
      const arrived = await counts(to)
      if (arrived.contents === 0) {
        cut += 1
        expect([code, arrived.marked, info.release_needed]).toEqual([null, 0, undefined])
        await command(...args(to))
        expect(await counts(to)).toEqual({ contents: 12, marked: 1 })
      } else expect(arrived).toEqual({ contents: 12, marked: 1 })
    }
    expect(cut).toBeGreaterThan(0)
  })

  it('a full disk is said plainly, and leaves neither a half backup nor a changed database', async context => {
    const disk = join(dir, 'disk')
    mkdirSync(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk], { stdio: 'pipe' })
    } catch {
      return context.skip('mounting a tmpfs is not permitted here')
    }
    try {
      const noRoom = await runCommand({ dir, args: ['default', 'backup', join(disk, 'b')], env })
      expect(noRoom.code).toBe(1)
      expect(noRoom.err).toMatch(/disk has 40 MB free and the backup takes up to \d+ MB: make room/)
      await command('default', 'backup', join(dir, 'b'))
      // This meets the end of the disk itself, half-way.
      const small = { ...env, GMP_DB_PATH: join(disk, 'mail_service.db') }
      const full = await runCommand({ dir, args: ['default', 'restore', join(dir, 'b')], env: small })
      expect(full.code).toBe(1)
      expect(full.err).toMatch(/^Error: .* was not restored to .*: the disk is full\n$/)
      expect(readdirSync(disk).filter(name => !name.includes('-lock'))).toEqual([])
    } finally {
      execFileSync('umount', ['-l', disk])
    }
    expect(await kind(database)).toBe('old')
    expect(statSync(join(dir, 'b')).mode & 0o777).toBe(0o600)
  })
})
