/** The databases a bench measures: SQLite files in a folder of their own, and databases in one PostgreSQL server. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PostgresServer, startPostgres } from '../test/support/embedded-postgres.js'
import { createPostgresDatabase } from '../test/support/postgres-server.js'

export interface Database {
  readonly name: 'sqlite' | 'postgres'
  /** An empty one: a path or a URL. */
  fresh(): Promise<string>
}

export interface Databases {
  readonly all: readonly Database[]
  close(): Promise<void>
}

/** Those of these names, durable as in earnest: fsync on. */
export async function openDatabases(names: readonly Database['name'][]): Promise<Databases> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-bench-sqlite-'))
  let server: PostgresServer | null = null
  let files = 0
  const fresh = {
    sqlite: async () => {
      files += 1
      return join(dir, String(files), 'mail.db')
    },
    postgres: async () => {
      server ??= await startPostgres({ fsync: true })
      return createPostgresDatabase(server.url)
    },
  }
  return {
    all: names.map(name => ({ name, fresh: fresh[name] })),
    async close() {
      await server?.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
