/** Hundreds of failing connections leave no socket behind, whatever the way they failed. */
import { readdirSync, readlinkSync } from 'node:fs'
import { afterEach, expect, it, vi } from 'vitest'
import { idsOf, openWorld, pause, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const FAILURES = 240
const ACCOUNTS = 12

let world: World
afterEach(() => world.close())

const socketsOf = (pid: number) =>
  readdirSync(`/proc/${pid}/fd`).filter(fd => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:')
    } catch {
      // Closed between the two looks.
      return false
    }
  }).length

it.skipIf(process.platform !== 'linux')('after 240 failing connections the process holds no more sockets', async () => {
  world = await openWorld('sqlite', {
    env: { GMP_PROBE_FIRST: '0.1', GMP_PROBE_MAX: '0.1', GMP_SMTP_CONNECT_TIMEOUT: '1', GMP_SMTP_COMMAND_TIMEOUT: '1' },
  })
  const { pid } = await world.start()
  const accounts = idsOf('account', ACCOUNTS)
  for (const id of accounts) await world.account({ id })
  // Warm: one good mail an account, and what the process opens once is open.
  for (const account_id of accounts) await world.submit([`warm-${account_id}`], { fields: { account_id } })
  await world.drained()
  world.sink.dropAll()
  await until('the dropped ones to be gone', () => world.sink.openConnections === 0)
  const before = socketsOf(pid)

  let failed = 0
  world.sink.behave({
    greeting: ({ n }) => {
      failed += 1
      if (n % 5 === 0) return { cut: true }
      if (n % 5 === 1) return '421 4.3.2 Not now'
      if (n % 5 === 2) return 'this is no SMTP'
      if (n % 5 === 3) return `220-${'x'.repeat(80_000)}`
      return null
    },
    ehlo: ({ n }) => (n % 3 === 0 ? { cut: true } : n % 3 === 1 ? { silent: true } : '554 5.7.1 Go away'),
  })
  for (const account_id of accounts) await world.submit([`later-${account_id}`], { fields: { account_id } })
  await until('the failures', () => failed >= FAILURES, 25_000)
  // Those under way just now are not leaked: at no moment more than the accounts being probed.
  const during = socketsOf(pid)
  expect(during).toBeLessThanOrEqual(before + ACCOUNTS)

  world.sink.behave({})
  await world.drained()
  await until('nothing but idle connections', () => socketsOf(pid) <= before + world.sink.openConnections)
  world.sink.dropAll()
  await until('the sockets to be closed on both sides', () => socketsOf(pid) <= before)
  await pause(100)
  expect((await world.ledger.balance(world.databaseUrl)).problems).toEqual({})
})
