/** Goal 3: a claim costs the same whatever is queued, also while another session holds a snapshot of PostgreSQL open. */
import pg from 'pg'
import type { Bench, Figure } from '../bench.js'
import { CLAIM, claimAgainAndAgain, withClaimer } from '../claim-cost.js'
import type { Database } from '../databases.js'
import { figure } from '../figures.js'
import { fillQueue } from '../long-queue.js'
import { quantile } from '../times.js'

const TIMES = 300
const LONG_MS = 600_000

export async function claims(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) {
    figures.push(...(await byLength(bench, database)))
    if (database.name === 'postgres') figures.push(...(await besideSnapshot(bench, database)))
  }
  return figures
}

async function byLength(bench: Bench, database: Database): Promise<Figure[]> {
  const figures: Figure[] = []
  const medians: number[] = []
  for (const full of [1_000, 100_000, 1_000_000]) {
    const isLongest = full === 1_000_000
    const count = full === 1_000 ? full : bench.count(full)
    bench.say(`${database.name}: claims with ${count} queued`)
    const queue = isLongest ? await bench.longQueue(database) : await fillQueue(database, count)
    const times = await claimAgainAndAgain(queue.database, TIMES)
    const what = `a claim of ${CLAIM} with ${count.toLocaleString('en-US')} queued`
    medians.push(quantile(times, 0.5))
    for (const [name, q] of [
      ['p50', 0.5],
      ['p99', 0.99],
    ] as const)
      figures.push(figure(3, database, `${what}: ${name}`, quantile(times, q), 'ms'))
  }
  const ratio = medians.at(-1)! / medians[0]!
  return [...figures, figure(3, database, 'a claim, longest queue / shortest', ratio, 'ratio', { atMost: 1.5 })]
}

/**
 * Claims and ends the whole queue, so that dead rows gather which nobody may remove; with `isLong` for ten minutes, in which
 * as many come as go.
 */
async function besideSnapshot(bench: Bench, database: Database): Promise<Figure[]> {
  const rounds = bench.count(100_000) / CLAIM
  const until = bench.isLong ? performance.now() + LONG_MS : 0
  const queue = await fillQueue(database, bench.count(110_000))
  bench.say(`${database.name}: claims while another session holds a snapshot open`)
  const reader = new pg.Client({ connectionString: queue.database })
  await reader.connect()
  try {
    await reader.query('begin isolation level repeatable read')
    await reader.query('select count(*) from messages')
    const times = await withClaimer(queue.database, async claimer => {
      const took: number[] = []
      while (took.length < rounds || performance.now() < until) {
        if (took.length >= rounds) await claimer.add(CLAIM)
        took.push(await claimer.claim({ onward: true }))
        await claimer.end()
      }
      return took
    })
    const tenth = Math.ceil(times.length / 10)
    const first = quantile(times.slice(0, tenth), 0.5)
    const last = quantile(times.slice(-tenth), 0.5)
    const what = `a claim while a snapshot is held open, ${(times.length * CLAIM).toLocaleString('en-US')} claimed`
    return [
      figure(3, database, `${what}: p50 of the first tenth`, first, 'ms'),
      figure(3, database, `${what}: p50 of the last tenth`, last, 'ms'),
      figure(3, database, `${what}: last / first`, last / first, 'ratio', { atMost: 1.5 }),
    ]
  } finally {
    await reader.end()
  }
}
