/** Goal 4: as many messages from very many accounts as from one, without and with limits on all of them. */
import type { Bench, Figure } from '../bench.js'
import type { Client } from '../client.js'
import type { Database } from '../databases.js'
import { figure } from '../figures.js'
import { accountAt, withService } from '../rig.js'
import { measureThroughput } from '../throughput.js'
import { rateOfAll } from '../times.js'

const EACH = 10
/** So many that they are looked at, and no message meets a full one. */
const LIMITS = { limit_per_hour: 1_000, limit_per_day: 10_000 }
const NO_LIMITS = { limit_per_hour: null, limit_per_day: null }

export async function manyAccounts(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) {
    const { one, many, limited } = await measureAccounts(database, bench.count(10_000), what =>
      bench.say(`${database.name}: ${what}`),
    )
    const row = (what: string, value: number) => figure(4, database, what, value, 'messages/s')
    const ratio = (what: string, value: number) => figure(4, database, what, value, 'ratio', { atLeast: 0.7 })
    figures.push(
      row('the same count from one account', one),
      row(`${bench.count(10_000).toLocaleString('en-US')} accounts with ${EACH} messages each`, many),
      row('the same with limits on all of them', limited),
      ratio('many accounts / one', many / one),
      ratio('many accounts with limits / one', limited / one),
    )
  }
  return figures
}

/** Messages a second from one account, from so many, and from so many with limits. */
export async function measureAccounts(database: Database, accounts: number, say: (what: string) => void) {
  return withService({ database: await database.fresh() }, async rig => {
    const fromMany = (index: number) => ({ account_id: `many-${index % accounts}` })
    const count = accounts * EACH
    const measure = async (whose: string, fieldsOf: Parameters<typeof measureThroughput>[2] = {}) => {
      say(`${count} messages of ${whose}`)
      return (await measureThroughput(rig, count, fieldsOf)).perSecond
    }
    const limit = async (fields: Readonly<Record<string, unknown>>) => {
      say(`${accounts} accounts`)
      await makeAccounts(rig.client, rig.sink.port, accounts, fields)
    }
    await limit(NO_LIMITS)
    await measureThroughput(rig, Math.ceil(count / 20))
    // V8 has yet to compile what only many accounts need: their first round takes a fifth more CPU than a second one.
    await measureThroughput(rig, Math.ceil(count / 5), fromMany)
    // There and back, so that a machine that becomes slower meanwhile does so for each of them alike.
    const one = [await measure('one account')]
    const many = [await measure('many accounts', fromMany)]
    await limit(LIMITS)
    const limited = [await measure('many with limits', fromMany), await measure('many with limits', fromMany)]
    await limit(NO_LIMITS)
    many.push(await measure('many accounts', fromMany))
    one.push(await measure('one account'))
    return { one: rateOfAll(one), many: rateOfAll(many), limited: rateOfAll(limited) }
  })
}

async function makeAccounts(
  client: Client,
  port: number,
  count: number,
  fields: Record<string, unknown>,
): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      while (next < count)
        await client.post('/account', accountAt(port, { id: `many-${next++}`, max_connections: 1, ...fields }))
    }),
  )
}
