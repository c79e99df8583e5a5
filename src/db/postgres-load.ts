/**
 * One transaction on a connection of its own, for filling a whole PostgreSQL database: all of it or nothing. The one
 * exception to the port's units (db.ts): it stays open while its caller reads elsewhere, and nobody else is served.
 */
import pg from 'pg'
import { DatabaseUnavailable, type Row, type Statement } from './db.js'
import { createExpander } from './dialect.js'
// Whole numbers come as numbers: set there for all connections.
import './postgres.js'

export type RunStatement = (statement: Statement) => Promise<Row[]>

/** Commits once the work has resolved; whatever it throws undoes all of it. */
export async function loadPostgres<T>(url: string, work: (run: RunStatement) => Promise<T>): Promise<T> {
  const expand = createExpander('postgres', { clock: 'database' })
  const client = new pg.Client({
    connectionString: url,
    application_name: 'genro-mail-proxy transfer',
    keepAlive: true,
  })
  // A connection that dies is told to whoever waits for an answer; without a listener it would also be uncaught.
  client.on('error', () => {})
  try {
    await client.connect()
  } catch (error) {
    throw new DatabaseUnavailable((error as Error).message, { cause: error })
  }
  try {
    await client.query('begin')
    const result = await work(
      async ({ sql, params }) => (await client.query(expand(sql), params as unknown[])).rows as Row[],
    )
    await client.query('commit')
    return result
  } finally {
    // Without a commit the end of the connection undoes it all.
    await client.end().catch(() => {})
  }
}
