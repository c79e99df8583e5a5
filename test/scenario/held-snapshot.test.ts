/**
 * A session that holds a snapshot open (a dump, a forgotten transaction) keeps PostgreSQL from removing what was claimed. A
 * service that keeps up with what comes must not look at all of it each time.
 */
import pg from 'pg'
import { expect, it } from 'vitest'
import { opened, openScene } from '../support/scene.js'
import { expectBalanced, many } from '../support/story.js'

const COUNT = 600

it('beside a held snapshot a message costs no look at those that went before', async () => {
  const { service, sink, client } = await openScene({ dialect: 'postgres' })
  const connect = () => opened(connected(service.databaseUrl), each => each.end())
  const [holder, looker] = [await connect(), await connect()]
  await holder.query('begin isolation level repeatable read')
  await holder.query('select count(*) from messages')
  const messages: Record<string, unknown>[] = many(COUNT, 'm').map((each, at) => ({ ...each, priority: at % 3 }))
  for (const message of messages) {
    const before = sink.accepted
    await service.send(message)
    // Each finds the queue empty.
    await sink.waitFor(before + 1)
  }
  await expectBalanced(
    service,
    client,
    messages.map(each => each.id as string),
  )
  const read = async () => {
    const { rows } = await looker.query(
      "select idx_scan as scans, idx_tup_read as entries from pg_stat_user_indexes where indexrelname = 'messages_ready'",
    )
    return { scans: Number(rows[0].scans), entries: Number(rows[0].entries) }
  }
  await service.until('the statistics', async () => (await read()).scans >= COUNT)
  // Half of what went before, were each claim to start with the first, is COUNT / 2; the poll and the gauges do.
  const { scans, entries } = await read()
  expect(entries / scans).toBeLessThan(COUNT / 10)
})

async function connected(connectionString: string): Promise<pg.Client> {
  const session = new pg.Client({ connectionString })
  await session.connect()
  return session
}
