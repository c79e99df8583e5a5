/**
 * The crash matrix: GMP_KILLS deaths (240 unless set) at every named point of a message's journey and at random moments under
 * load, on both databases; with PostgreSQL also frozen instances and a server that is killed. What each round did with is
 * printed, and GMP_TEST_SEED plays it again.
 */
import { describe, expect, it } from 'vitest'
import { type CrashWorld, openCrashWorld, POINTS, type Point } from '../support/crash-world.js'
import { startPostgres } from '../support/embedded-postgres.js'
import { opened } from '../support/scene.js'
import { seeded } from '../support/world.js'

const KILLS = Number(process.env.GMP_KILLS ?? 240)
/** Deaths at points, of each database; the others fall at random moments. */
const AT_POINTS = Math.ceil(KILLS * 0.36)
const AT_RANDOM = Math.ceil(KILLS * 0.12)
const FREEZES = Math.ceil(KILLS / 80)
const DATABASE_DEATHS = Math.ceil(KILLS / 80)
const INSTANCES = 3
/** Services on SQLite side by side, and instances on one PostgreSQL that die in one round. */
const SIDE_BY_SIDE = 4
const AT_ONCE = 6
/** Random kills between two balances. */
const A_ROUND = 6

const open = (...given: Parameters<typeof openCrashWorld>) => opened(openCrashWorld(...given), each => each.close())

const tell = (what: string, crash: CrashWorld) => console.log(`${what}: ${crash.state()}`)

/** SQLite goes through them from the front, PostgreSQL from the back: a short run comes to all of them too. */
const order = shuffle(seeded('order of the points'))
const seen = new Set<Point>()

function shuffle(random: () => number): Point[] {
  return POINTS.map(point => ({ point, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ point }) => point)
}

describe('killed at the points of the journey', () => {
  it('on SQLite, now and then in the rescue of what it left too', async () => {
    // A death waits for a start more than for anything else: so several services, each on its own file.
    const worlds = Array.from({ length: SIDE_BY_SIDE }, async (_, world) => {
      const random = seeded(`points, sqlite ${world}`)
      const crash = await open('sqlite', { random })
      for (let kill = world; kill < AT_POINTS; kill += SIDE_BY_SIDE) {
        const point = order[kill % order.length]!
        seen.add(point)
        await crash.startFor([point])
        // Else it dies over what the one before left.
        if (random() < 0.6) await crash.settle()
        await crash.die()
        tell(`${kill + 1}/${AT_POINTS} at ${point} on SQLite`, crash)
        // What was claimed is there to be rescued.
        if (/^(journal|dot|reply):/.test(point) && random() < 0.5) {
          const rescue = random() < 0.5 ? 'settle:before' : 'settle:after'
          await crash.dieInRescue(rescue)
          tell(`and in its rescue at ${rescue}`, crash)
        }
      }
      await crash.start()
      await crash.settle()
      tell(`world ${world} ended`, crash)
    })
    await Promise.all(worlds)
  })

  it('on PostgreSQL, several instances at a time', async () => {
    const random = seeded('points, postgres')
    const crash = await open('postgres', { random })
    const points = [...order].reverse()
    for (let kills = 0; kills < AT_POINTS; kills += AT_ONCE) {
      const these = Array.from({ length: AT_ONCE }, (_, i) => points[(kills + i) % points.length]!)
      for (const point of these) seen.add(point)
      await crash.startFor(these)
      if (random() < 0.6) await crash.settle()
      await crash.die()
      tell(`${kills + AT_ONCE}/${AT_POINTS} at ${these.join(', ')} on PostgreSQL`, crash)
    }
    await crash.start()
    await crash.settle()
    tell('all ended', crash)
  })

  it('at every one of them', () => {
    expect(seen.size).toBeGreaterThanOrEqual(Math.min(POINTS.length, 2 * AT_POINTS))
  })
})

describe('killed at random moments under load', () => {
  it.each([
    ['sqlite', 1],
    ['postgres', INSTANCES],
  ] as const)('on %s, one of %i', async (dialect, count) => {
    const random = seeded(`load, ${dialect}`)
    const crash = await open(dialect, { random })
    for (let n = 0; n < count; n += 1) await crash.start()
    for (let kills = 1; kills <= AT_RANDOM; kills += 1) {
      await crash.underLoad(async () => {
        await crash.someLoad()
        const victim = crash.instances[Math.floor(random() * count)]!
        await crash.kill(victim)
        await crash.start()
      })
      if (kills % A_ROUND === 0 || kills === AT_RANDOM) await crash.settle()
      tell(`${kills}/${AT_RANDOM} under load on ${dialect}`, crash)
    }
  })

  it('frozen past its lease, one of three on PostgreSQL', async () => {
    const random = seeded('freezes')
    const crash = await open('postgres', { random })
    for (let n = 0; n < INSTANCES; n += 1) await crash.start()
    for (let n = 1; n <= FREEZES; n += 1) {
      await crash.underLoad(async () => {
        await crash.someLoad()
        await crash.freeze(crash.instances[Math.floor(random() * INSTANCES)]!)
        await crash.someLoad()
      })
      await crash.settle()
      tell(`${n}/${FREEZES} frozen`, crash)
    }
  })

  it('beside a PostgreSQL that is killed: pg_ctl stop -m immediate', async () => {
    const random = seeded('database deaths')
    const server = await opened(startPostgres(), each => each.stop())
    const crash = await open('postgres', { random, databaseUrl: server.url })
    for (let n = 0; n < INSTANCES; n += 1) await crash.start()
    for (let n = 1; n <= DATABASE_DEATHS; n += 1) {
      await crash.underLoad(async () => {
        await crash.someLoad()
        crash.databaseDied()
        // One of them with it, whose claims are in doubt whatever the journal says.
        await server.restart({ stop: 'immediate', meanwhile: () => crash.kill(crash.instances[0]!) })
        await crash.start()
        await crash.someLoad()
      })
      await crash.settle()
      tell(`${n}/${DATABASE_DEATHS} times without its database`, crash)
    }
  })
})
