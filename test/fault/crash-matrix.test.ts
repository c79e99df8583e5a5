/**
 * A short crash matrix: SIGKILL at points of a message's journey on both databases, and on PostgreSQL a death and a freeze of
 * one of three instances under load. All points, hundreds of times: crash-matrix.long.ts.
 */
import { expect, it, vi } from 'vitest'
import { openCrashWorld, type Point } from '../support/crash-world.js'
import { opened } from '../support/scene.js'
import { seeded } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 240_000 })

const open = (dialect: 'sqlite' | 'postgres') =>
  opened(openCrashWorld(dialect, { random: seeded(`crash matrix, ${dialect}`) }), each => each.close())

const ON_SQLITE: readonly Point[] = [
  'accept:after',
  'claim:after',
  'data:after',
  'dot:before',
  'reply:before',
  'report:after',
]

it('killed at points of the journey on SQLite, each time over what the one before left', async () => {
  const crash = await open('sqlite')
  for (const point of ON_SQLITE) {
    await crash.startFor([point])
    await crash.die()
  }
  await crash.start()
  await crash.settle()
  console.log(crash.state())
  // Whoever dies before its dot or its reply leaves a doubt.
  expect(crash.doubts).toBeGreaterThan(1)
})

it('killed at points of the journey on PostgreSQL, then one of three dies, and one is frozen past its lease', async () => {
  const crash = await open('postgres')
  await crash.startFor(['fetch:after', 'dot:after', 'settle:before'])
  await crash.die()
  for (let n = 0; n < 3; n += 1) await crash.start()
  const [one, two] = crash.instances
  await crash.underLoad(async () => {
    await crash.someLoad()
    await crash.kill(one!)
    await crash.someLoad()
    await crash.freeze(two!)
    await crash.someLoad()
  })
  await crash.settle()
  console.log(crash.state())
  expect(crash.doubts).toBeGreaterThan(0)
  expect(two!.process.output()).toContain('lease of this process was lost')
})
