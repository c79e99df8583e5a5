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
    const measureOne = () => {
      say(`${count} messages of one account`)
      return measureThroughput(rig, count)
    }
    await measureThroughput(rig, Math.ceil(count / 20))
    // Before the others and after them, so that a machine that becomes slower meanwhile counts for half.
    const before = await measureOne()
    say(`${accounts} accounts`)
    await makeAccounts(rig.client, rig.sink.port, accounts, {})
    say('their messages')
    // V8 has yet to compile what only they need: the first round takes a fifth more CPU than a second one.
    await measureThroughput(rig, Math.ceil(count / 5), fromMany)
    const many = await measureThroughput(rig, count, fromMany)
    say('limits for all of them')
    await makeAccounts(rig.client, rig.sink.port, accounts, LIMITS)
    say('their messages')
    const limited = await measureThroughput(rig, count, fromMany)
    const after = await measureOne()
    return {
      one: rateOfAll([before, after].map(each => each.perSecond)),
      many: many.perSecond,
      limited: limited.perSecond,
    }
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
