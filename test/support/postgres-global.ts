/** Vitest global set-up: starts one embedded PostgreSQL on a free port for the run and removes it afterwards. */
import { startPostgres } from './embedded-postgres.js'

export default async function setup(): Promise<() => Promise<void>> {
  const server = await startPostgres()
  process.env.GMP_TEST_POSTGRES = server.url
  return server.stop
}
