import { describe, expect, it } from 'vitest'
import { systemClock } from './clock.js'

describe('a sleep of the system clock', () => {
  it('ends when its signal aborts, or at once when it has', async () => {
    const abort = new AbortController()
    const slept = systemClock.sleep(3_600_000, abort.signal)
    abort.abort()
    await slept
    await systemClock.sleep(3_600_000, abort.signal)
  })

  it('of more than a timer can wait does not end at once', async () => {
    const abort = new AbortController()
    const slept = systemClock.sleep(2 ** 40, abort.signal).then(() => 'slept')
    expect(await Promise.race([slept, systemClock.sleep(5).then(() => 'still asleep')])).toBe('still asleep')
    abort.abort()
    await slept
  })
})
