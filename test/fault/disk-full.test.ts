/** No room on the disk: new messages are refused clearly, nothing acknowledged is lost, and it goes on by itself. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { tempDir } from '../support/process.js'
import { idsOf, openWorld, pause, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const MORE_THAN_ANY_DISK = '10000000'

describe('little room on the disk', () => {
  let world: World
  afterEach(() => world.close())

  it('below GMP_MIN_FREE_MB submissions get 503 disk_full, nothing is claimed, and reads still work', async () => {
    world = await openWorld('sqlite')
    const first = await world.start()
    await world.account()
    const due = Math.ceil(Date.now() / 1000) + 2
    await world.submit(['waiting'], { fields: { deferred_ts: due } })
    first.kill('SIGTERM')
    await first.exited

    const full = await world.start({ GMP_MIN_FREE_MB: MORE_THAN_ANY_DISK })
    const { status, headers, body } = await world.call('POST', '/commands/add-messages', { messages: [] })
    expect(status).toBe(503)
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(body).toMatchObject({ ok: false, code: 'disk_full' })
    expect((await world.call('GET', '/messages/waiting')).body.status).toBe('deferred')
    await until('the message to be due', () => Date.now() > due * 1000 + 500)
    expect(world.sink.accepted).toBe(0)
    expect((await world.call('GET', '/status')).body.pending_messages).toBe(1)
    full.kill('SIGTERM')
    expect(await full.exited).toBe(0)

    await world.start()
    await world.drained()
    expect((await world.ledger.balance(world.databaseUrl)).problems).toEqual({})
  })
})

async function expectAllOnce(world: World): Promise<void> {
  await world.drained()
  const { problems, doubled, claimed } = await world.ledger.balance(world.databaseUrl)
  // A request refused in the middle may have left whole units of itself behind; they were sent, not lost.
  const { strangers: _, ...others } = problems
  expect({ others, doubled, claimed }).toEqual({ others: {}, doubled: [], claimed: 0 })
}

/** A disk of its own of 40 MB; null where we may not mount. */
async function smallDisk(): Promise<{ dir: string; remove(): Promise<void> } | null> {
  const { dir, remove } = await tempDir()
  const disk = join(dir, 'disk')
  mkdirSync(disk)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk], { stdio: 'pipe' })
  } catch (error) {
    console.log(`no disk of our own, skipped: ${(error as Error).message}`)
    await remove()
    return null
  }
  return {
    dir: disk,
    async remove() {
      execFileSync('umount', ['-l', disk])
      await remove()
    },
  }
}

it('a disk that is really full: 503, and once there is room all that was acknowledged goes out', async context => {
  const disk = await smallDisk()
  if (disk === null) return context.skip('mounting a tmpfs is not permitted here')
  // No reserve, so that SQLite itself meets the end of the disk.
  const world = await openWorld('sqlite', {
    databaseUrl: join(disk.dir, 'mail_service.db'),
    env: { GMP_MIN_FREE_MB: '0' },
  })
  try {
    const service = await world.start()
    await world.account()
    world.sink.behave({ final: () => ({ delayMs: 20 }) })
    const { bavail, bsize } = statfsSync(disk.dir)
    const ballast = join(disk.dir, 'ballast')
    writeFileSync(ballast, Buffer.alloc(bavail * bsize - 8 * 1024 * 1024))

    const stop = new AbortController()
    const body = 'x'.repeat(40_000)
    const client = (async () => {
      for (let batch = 0; !stop.signal.aborted; batch += 1) {
        await world.submit(idsOf(`b${batch}-`, 20), { fields: { body }, stop: stop.signal })
        await pause(5)
      }
    })()
    await until('the end of the disk', () => world.refusals.length > 3)
    const refusal = world.refusals[0]!
    expect(refusal.status).toBe(503)
    expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(refusal.body).toMatchObject({ ok: false, code: expect.stringMatching(/^(disk_full|database_unavailable)$/) })
    expect(service.output()).toMatch(/database or disk is full|no space left/i)
    // Full for a while, also for what is under way.
    await pause(500)
    expect((await world.call('GET', '/health')).status).toBe(200)
    expect((await world.call('GET', '/messages?limit=1')).status).toBe(200)
    stop.abort()
    await client
    const acknowledged = world.ledger.queued.size
    expect(acknowledged).toBeGreaterThan(0)

    rmSync(ballast)
    world.sink.behave({})
    await world.drained()
    await world.submit(idsOf('after', 10))
    expect(world.process.pid).toBe(service.pid)
    await expectAllOnce(world)
    expect(service.output()).not.toMatch(/Uncaught/)
  } finally {
    await world.close()
    await disk.remove()
  }
})

it.runIf(process.platform === 'linux')(
  'files at the largest size that the process may write: 503, results wait, and it goes on when they may grow',
  async () => {
    // The soft limit, which everybody may lift again.
    const within = ['bash', '-c', 'ulimit -S -f 6000 && exec "$@"', 'limited']
    const world = await openWorld('sqlite', { within })
    try {
      const service = await world.start()
      const liftLimit = () => execFileSync('prlimit', ['--pid', String(service.pid), '--fsize=unlimited:'])
      await world.account()
      let hasLimit = true
      world.sink.behave({ final: () => (hasLimit ? { delayMs: 20 } : null) })
      const stop = new AbortController()
      const body = 'x'.repeat(40_000)
      const client = (async () => {
        for (let batch = 0; !stop.signal.aborted; batch += 1) {
          await world.submit(idsOf(`b${batch}-`, 20), { fields: { body }, stop: stop.signal })
        }
      })()
      await until('the largest file', () => world.refusals.length > 3)
      await until('results that wait', () => /Results of \d+ sends wait for the database/.test(service.output()))
      expect(world.refusals[0]).toMatchObject({ status: 503, body: { ok: false, code: 'database_unavailable' } })
      const said = /The database cannot be used: .*disk I\/O error: .*\(ulimit -f\)/
      await until('the reason in the log', () => said.test(service.output()))
      expect((await world.call('GET', '/messages?limit=1')).status).toBe(200)
      stop.abort()
      await client
      expect(world.ledger.queued.size).toBeGreaterThan(0)
      liftLimit()
      hasLimit = false
      await world.submit(idsOf('after', 10))
      await expectAllOnce(world)
      expect(world.process.pid).toBe(service.pid)
    } finally {
      await world.close()
    }
  },
)
