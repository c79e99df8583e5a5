/** A process that cannot start as configured says why in one line and ends; it never half-starts. */

import { readdir, symlink, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { openSqlite } from '../../src/db/sqlite.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { runToEnd, type ServiceProcess, startProcess, tempDir } from '../support/process.js'
import { TEST_KEY, testSecret } from '../support/secrets.js'
import { until } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const TOKEN = { GMP_API_TOKEN: testSecret('admin-token') }
const KEY = TEST_KEY
const OTHER_KEY = Buffer.alloc(32, 8).toString('base64')

/** The one line of complaint. */
function errorLines(output: string): string[] {
  return output.split('\n').filter(line => line.startsWith('Error: '))
}

describe('a wrong configuration is one line that names it', () => {
  let dir: string
  let remove: () => Promise<void>
  beforeAll(async () => {
    const temp = await tempDir()
    dir = temp.dir
    remove = temp.remove
  })
  afterAll(() => remove())

  it.each([
    ['GMP_PORT', '70000'],
    ['GMP_RETRY_DELAYS', '60,soon'],
    ['GMP_LEASE_SECONDS', '0'],
    ['GMP_SCHEDULER_ACTIVE', 'maybe'],
    ['GMP_TIMEZONE', 'Mars/Olympus'],
    ['GMP_ENCRYPTION_KEY', 'too-short-a-secret'],
    ['GMP_ALLOWED_NETWORKS', '10.0.0.0/99'],
    ['GMP_DB_PATH', 'mysql://root@db/mail'],
  ])('%s=%s: exit 1', async (name, value) => {
    const { code, output } = await runToEnd({ dir, env: { ...TOKEN, [name]: value } })
    expect(errorLines(output)).toHaveLength(1)
    expect(errorLines(output)[0]).toContain(name)
    expect(output.trim().split('\n').at(-1)).toBe(errorLines(output)[0])
    expect(output).not.toContain('too-short-a-secret')
    expect(code).toBe(1)
  })

  it.each([
    ['GMP_SPOOL_DIR', ''],
    ['GMP_SPOOL_DIR', '/below'],
    ['GMP_CACHE_DISK_DIR', ''],
    ['GMP_ATTACHMENT_BASE_DIR', ''],
    ['GMP_DB_PATH', '/mail.db'],
  ])('%s in a file%s, where a directory belongs: exit 1', async (name, below) => {
    const path = join(dir, 'a file')
    await writeFile(path, '')
    const { code, output } = await runToEnd({ dir, env: { ...TOKEN, [name]: path + below } })
    expect(errorLines(output)).toEqual([expect.stringContaining(path)])
    expect(errorLines(output)[0]).toContain(name)
    expect(code).toBe(1)
  })

  it('GMP_DB_PATH that is a directory: exit 1', async () => {
    const { code, output } = await runToEnd({ dir, env: { ...TOKEN, GMP_DB_PATH: dir } })
    const said = `Error: the database (GMP_DB_PATH): ${dir} cannot be opened (EISDIR): it has to be a file that this user may write`
    expect(errorLines(output)).toEqual([said])
    expect(code).toBe(1)
  })

  it.each([
    ['an unknown key', '[server]\nprot = 8000\n', /\[server\] prot .*did you mean port/],
    ['an unknown section', '[sever]\nport = 8000\n', /\[sever\] .*did you mean server/],
    ['a wrong value', '[delivery]\nmax_retries = many\n', /\[delivery\] max_retries/],
  ])('config.ini with %s: exit 1', async (_, text, said) => {
    const path = join(dir, 'config.ini')
    await writeFile(path, text)
    const { code, output } = await runToEnd({ dir, env: { ...TOKEN, GMP_CONFIG: path } })
    expect(errorLines(output)).toEqual([expect.stringMatching(said)])
    expect(code).toBe(1)
  })

  it.each([
    ['a wrong value', ['--port', 'eighty'], /--port/],
    ['an unknown flag', ['--prot', '80'], /--prot/],
    ['no authentication beyond this machine', ['--insecure-no-auth', '--host', '0.0.0.0'], /--insecure-no-auth/],
  ])('a flag with %s: exit 2', async (_, args, said) => {
    const { code, output } = await runToEnd({ dir, env: TOKEN, args })
    expect(errorLines(output)).toEqual([expect.stringMatching(said)])
    expect(code).toBe(2)
  })
})

describe('what is taken, foreign or newer is refused', () => {
  const running: ServiceProcess[] = []
  const removals: (() => Promise<void>)[] = []
  const folder = async () => {
    const { dir, remove } = await tempDir()
    removals.push(remove)
    return dir
  }
  const start = async (dir: string, env: Record<string, string> = {}, onOutput?: (text: string) => void) => {
    const process = await startProcess({ dir, env: { ...TOKEN, ...env }, ...(onOutput ? { onOutput } : {}) })
    running.push(process)
    return process
  }
  const stop = async (process: ServiceProcess) => {
    process.kill('SIGTERM')
    expect(await process.exited).toBe(0)
  }
  afterEach(async () => {
    for (const process of running.splice(0)) {
      process.kill('SIGKILL')
      await process.exited
    }
    for (const remove of removals.splice(0)) await remove()
  })

  it('a second process on one SQLite file: one line, exit 1, and the first goes on', async () => {
    const dir = await folder()
    const first = await start(dir)
    const { code, output } = await runToEnd({ dir, env: TOKEN })
    expect(errorLines(output)).toEqual([expect.stringMatching(/mail_service\.db is already served by another process/)])
    expect(code).toBe(1)
    expect((await fetch(`${first.url}/ready`)).status).toBe(200)
  })

  it('nor by a symbolic link to the file, whose lock and log lie beside the real one', async () => {
    const linked = async () => {
      const [real, other] = [await folder(), await folder()]
      const [file, link] = [join(real, 'mail_service.db'), join(other, 'linked.db')]
      await symlink(file, link)
      const env = { ...TOKEN, GMP_ENCRYPTION_KEY: KEY }
      return { real, other, file, byFile: { ...env, GMP_DB_PATH: file }, byLink: { ...env, GMP_DB_PATH: link } }
    }
    const firstByLink = async () => {
      const { real, other, file, byFile, byLink } = await linked()
      // It makes the file to which the link leads.
      await start(other, byLink)
      const { code, output } = await runToEnd({ dir: real, env: byFile })
      expect(errorLines(output)).toEqual([expect.stringContaining(`${file} is already served by another process`)])
      expect(code).toBe(1)
      expect(await readdir(real)).toEqual(expect.arrayContaining(['mail_service.db-lock', 'mail_service.db-wal']))
    }
    const firstByFile = async () => {
      const { real, other, byFile, byLink } = await linked()
      await start(real, byFile)
      const { code, output } = await runToEnd({ dir: other, env: byLink })
      expect(errorLines(output)).toEqual([expect.stringContaining('is already served by another process')])
      expect(code).toBe(1)
      expect((await readdir(other)).filter(name => name.startsWith('linked.db'))).toEqual(['linked.db'])
    }
    // At once, for whoever is refused waits 10 s before.
    await Promise.all([firstByLink(), firstByFile()])
  })

  it('a port in use: one line that names it, exit 1', async () => {
    const taken = createServer()
    await new Promise<void>(done => taken.listen(0, '127.0.0.1', done))
    const { port } = taken.address() as AddressInfo
    const { code, output } = await runToEnd({ dir: await folder(), env: { ...TOKEN, GMP_PORT: String(port) } })
    await new Promise(done => taken.close(done))
    expect(errorLines(output)).toEqual([expect.stringMatching(new RegExp(`port ${port} .*in use`))])
    expect(code).toBe(1)
  })

  it.each(['sqlite', 'postgres'] as const)(
    'another encryption key on %s: refused, and the right one starts',
    async dialect => {
      const dir = await folder()
      const env: Record<string, string> = dialect === 'postgres' ? { GMP_DB_PATH: await createPostgresDatabase() } : {}
      await stop(await start(dir, { ...env, GMP_ENCRYPTION_KEY: KEY }))
      const { code, output } = await runToEnd({ dir, env: { ...TOKEN, ...env, GMP_ENCRYPTION_KEY: OTHER_KEY } })
      expect(errorLines(output)).toEqual([expect.stringMatching(/GMP_ENCRYPTION_KEY/)])
      expect(output).not.toContain(OTHER_KEY)
      expect(code).toBe(1)
      await start(dir, { ...env, GMP_ENCRYPTION_KEY: KEY })
    },
  )

  it('a database newer than the code: refused and left as it is', async () => {
    const dir = await folder()
    await stop(await start(dir))
    const path = join(dir, 'instances', 'default', 'mail_service.db')
    const setVersion = async (version: string) => {
      const db = await openSqlite(path)
      await db.write([{ sql: "update meta set value = $1 where key = 'schema_version'", params: [version] }])
      const [row] = await db.read({ sql: "select value from meta where key = 'schema_version'", params: [] })
      await db.close()
      return row?.value
    }
    await setVersion('99')
    const { code, output } = await runToEnd({ dir, env: TOKEN })
    expect(errorLines(output)).toEqual([expect.stringMatching(/schema 99, newer than this version/)])
    expect(code).toBe(1)
  })

  it('PostgreSQL away at the start is waited for', async () => {
    const database = new URL(await createPostgresDatabase())
    const gate = createServer()
    await new Promise<void>(done => gate.listen(0, '127.0.0.1', done))
    const { port } = gate.address() as AddressInfo
    await new Promise(done => gate.close(done))
    const away = new URL(database)
    away.port = String(port)
    let written = ''
    const starting = start(await folder(), { GMP_DB_PATH: away.href, GMP_ENCRYPTION_KEY: KEY }, text => {
      written = text
    })
    await until('a word of it', async () => written.includes('cannot be reached'))
    expect(written).not.toContain('listens on')
    // It comes up: a plain forwarder on the port that was closed.
    const { connect } = await import('node:net')
    const forwarder = createServer(client => {
      const server = connect(Number(database.port), database.hostname)
      client.pipe(server).pipe(client)
      for (const socket of [client, server]) socket.on('error', () => {}).on('close', () => client.destroy())
    })
    await new Promise<void>(done => forwarder.listen(port, '127.0.0.1', done))
    const process = await starting
    expect(process.output()).toMatch(/The database cannot be reached, next try in 1 s: .*ECONNREFUSED/)
    expect(process.output()).not.toContain(`:${database.password}@`)
    await until('/ready', async () => (await fetch(`${process.url}/ready`)).status === 200)
    process.kill('SIGKILL')
    await process.exited
    forwarder.close()
  })
})
