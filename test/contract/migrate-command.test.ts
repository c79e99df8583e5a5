/** `mail-proxy <instance> migrate` says what it would do before it does it, on both databases. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LATEST_SCHEMA } from '../../src/db/migrate.js'
import { openDatabase } from '../../src/db/open.js'
import { runCommandHere } from '../support/command.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { tempDir } from '../support/process.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

vi.setConfig({ testTimeout: 120_000 })

describe.each(dialects)('migrate on %s', dialect => {
  let dir: string
  let remove: () => Promise<void>
  let url: string
  beforeEach(async () => {
    ;({ dir, remove } = await tempDir())
    mkdirSync(join(dir, 'data'))
    mkdirSync(join(dir, 'instances', 'default'), { recursive: true })
    url = dialect === 'postgres' ? await createPostgresDatabase() : join(dir, 'data', 'mail.db')
  })
  afterEach(() => remove())

  const run = (...args: string[]) =>
    runCommandHere({ dir, args: ['default', 'migrate', ...args], env: { GMP_DB_PATH: url } })
  async function said(...args: string[]): Promise<string> {
    const { code, out, err } = await run(...args)
    expect([args, code, err]).toEqual([args, 0, ''])
    return out
  }
  async function change(sql: string): Promise<void> {
    const db = await openDatabase(
      { database: { url, dialect, poolSize: 2, answerTimeoutMs: 60_000, release: false } },
      { log: silentLog, exclusive: false },
    )
    await db.write([{ sql, params: [] }])
    await db.close()
  }

  it('only looks with --status and --dry-run, applies without, and then finds nothing to do', async () => {
    if (dialect === 'sqlite') await change('create table unrelated (x text)')
    for (const _ of ['at first', 'and again']) {
      expect(await said('--status')).toBe(`schema 0 of ${LATEST_SCHEMA}\n`)
      expect(await said('--dry-run')).toBe(`would apply migrations 1 to ${LATEST_SCHEMA}\n`)
    }
    expect(JSON.parse(await said('--dry-run', '--json'))).toEqual({ current: 0, latest: LATEST_SCHEMA, applied: 0 })
    expect(await said()).toBe(`schema ${LATEST_SCHEMA}, ${LATEST_SCHEMA} applied\n`)
    expect(await said('--status')).toBe(`schema ${LATEST_SCHEMA} of ${LATEST_SCHEMA}\n`)
    expect(await said('--dry-run')).toBe('nothing to apply\n')
    expect(JSON.parse(await said('--json'))).toEqual({ current: LATEST_SCHEMA, latest: LATEST_SCHEMA, applied: 0 })
  })

  it('refuses a schema that is newer than the code, also when it only should look what to apply', async () => {
    await said()
    await change("update meta set value = '99' where key = 'schema_version'")
    for (const args of [['--dry-run'], []]) {
      const { code, err } = await run(...args)
      expect([code, err]).toEqual([
        1,
        `Error: the database has schema 99, newer than this version knows (${LATEST_SCHEMA}): start the newer version of mail-proxy\n`,
      ])
    }
    expect(await said('--status')).toBe(`schema 99 of ${LATEST_SCHEMA}\n`)
  })

  it('two at once both end well, where both may work', async () => {
    const ends = await Promise.all([run('--json'), run('--json')])
    const done = ends.filter(({ code }) => code === 0).map(({ out }) => JSON.parse(out))
    // On SQLite one of them may find that it is not alone.
    expect(done.length).toBeGreaterThan(dialect === 'postgres' ? 1 : 0)
    for (const each of done) expect(each).toMatchObject({ current: LATEST_SCHEMA, latest: LATEST_SCHEMA })
    expect(await said('--status')).toBe(`schema ${LATEST_SCHEMA} of ${LATEST_SCHEMA}\n`)
  })
})
