/** What time makes stale is removed every half a minute, whatever is done to the wall clock meanwhile. */
import { expect, it, onTestFinished } from 'vitest'
import { createJanitor } from '../../src/maintenance/janitor.js'
import { createFakeClock } from '../support/fake-clock.js'
import { dialects, openTempDb } from '../support/temp-db.js'

const DAY = 86_400_000
const HOUR = 3_600_000

it.each(dialects)('goes on after the clock was set back an hour, on %s', async dialect => {
  const temp = await openTempDb(dialect)
  onTestFinished(() => temp.drop())
  const clock = createFakeClock()
  const times = { retentionMs: DAY, commandLogRetentionMs: DAY }
  const janitor = createJanitor({ db: temp.db, clock, ...times, ended: () => {} })
  const columns = 'at, endpoint, tenant_id, payload, response_status'
  const add = (at: number) =>
    temp.db.write([
      { sql: `insert into command_log (${columns}) values ($1, 'run-now', null, '{}', 200)`, params: [at] },
    ])
  const left = async () => {
    for (let step = 0; step < 3; step += 1) await janitor.step()
    const rows = await temp.db.read({ sql: 'select at from command_log', params: [] })
    return rows.map(({ at }) => Number(at))
  }
  await add(clock.now() - 2 * DAY)
  expect(await left()).toEqual([])

  clock.jump(-HOUR)
  const stale = clock.now() - 2 * DAY
  const young = clock.now() - DAY + HOUR
  await add(stale)
  await add(young)
  // Its turn has not come round.
  expect(await left()).toEqual([stale, young])
  await clock.advance(30_000)
  expect(await left()).toEqual([young])
})
