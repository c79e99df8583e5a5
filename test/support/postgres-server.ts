/**
 * One embedded PostgreSQL server for a whole run, started by the vitest global set-up (postgres-global.ts), and a fresh
 * database in it for each test that asks. GMP_TEST_POSTGRES names its admin URL.
 */
import { randomBytes } from 'node:crypto'
import pg from 'pg'

export function createPostgresDatabase(admin = process.env.GMP_TEST_POSTGRES): Promise<string> {
  return create(admin, '')
}

/** A database with the rows of this one, to which nobody may be connected. */
export function copyPostgresDatabase(url: string): Promise<string> {
  return create(process.env.GMP_TEST_POSTGRES, ` template ${new URL(url).pathname.slice(1)}`)
}

async function create(admin: string | undefined, like: string): Promise<string> {
  if (admin === undefined)
    throw new Error('GMP_TEST_POSTGRES is not set: run through vitest, whose set-up starts the server')
  const name = `t_${randomBytes(6).toString('hex')}`
  const client = new pg.Client({ connectionString: admin })
  await client.connect()
  await client.query(`create database ${name}${like}`)
  await client.end()
  const url = new URL(admin)
  url.pathname = `/${name}`
  return url.href
}
