/**
 * `npm run bench`: measures the service as a process of its own, from outside, and writes docs/benchmarks.md.
 * Options: --quick (a tenth of the messages), --only sqlite|postgres, --no-write.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startPostgres } from '../test/support/embedded-postgres.js'
import { createPostgresDatabase } from '../test/support/postgres-server.js'
import { describeMachine } from './machine.js'
import { type Measured, renderReport } from './report.js'
import { measure } from './rounds.js'

const { values } = parseArgs({
  options: { quick: { type: 'boolean' }, only: { type: 'string' }, 'no-write': { type: 'boolean' } },
})
const scale = values.quick === true ? 0.1 : 1
const results: Measured[] = []
for (const dialect of ['sqlite', 'postgres'] as const) {
  if (values.only !== undefined && values.only !== dialect) continue
  const server = dialect === 'postgres' ? await startPostgres({ fsync: true }) : null
  try {
    const another = async () => (server === null ? null : await createPostgresDatabase(server.url))
    const databases = { databaseUrl: server?.url ?? null, claimsUrl: await another(), filesUrl: await another() }
    results.push(await measure(dialect, databases, scale, line => process.stderr.write(`${line}\n`)))
  } finally {
    await server?.stop()
  }
}
const report = renderReport(describeMachine(), results, scale)
process.stdout.write(`${report}\n`)
if (values['no-write'] !== true && scale === 1 && values.only === undefined) {
  writeFileSync(new URL('../../docs/benchmarks.md', import.meta.url), `${report}\n`)
}
