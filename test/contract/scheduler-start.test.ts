/** GMP_SCHEDULER_ACTIVE says how a new database begins, and nothing afterwards. */
import { afterEach, describe, expect, it } from 'vitest'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

const running: (Pick<TestService, 'stop'> | { stop(): Promise<void> })[] = []
afterEach(async () => {
  for (const each of running.splice(0).reverse()) await each.stop()
})

async function start(options: Parameters<typeof startTestService>[0]): Promise<TestService> {
  const service = await startTestService(options)
  running.push(service)
  return service
}

async function sink(): Promise<SmtpSink> {
  const made = await startSink()
  running.push({ stop: () => made.close() })
  return made
}

describe.each(['sqlite', 'postgres'] as const)('GMP_SCHEDULER_ACTIVE=false on %s', dialect => {
  it('lets a new database begin suspended, until somebody activates it; a restart does not ask again', async () => {
    const smtp = await sink()
    const env = { GMP_SCHEDULER_ACTIVE: 'false' }
    const service = await start({ dialect, env })
    await service.account(smtp)
    await service.send({ id: 'waits' })
    expect((await service.call('GET', '/status')).body).toMatchObject({ scheduler_active: false, pending_messages: 1 })
    expect(await service.message('waits')).toMatchObject({ waiting_for: 'suspension' })
    await service.call('POST', '/commands/activate')
    await service.until('the message to be sent', async () => (await service.message('waits')).status === 'sent')
    expect(smtp.messages).toHaveLength(1)

    if (dialect === 'sqlite') return
    const again = await start({ databaseUrl: service.databaseUrl, env })
    expect((await again.call('GET', '/status')).body.scheduler_active).toBe(true)
  })

  it('changes nothing about a database that was there before', async () => {
    const first = await start({ dialect: 'postgres' })
    const again = await start({ databaseUrl: first.databaseUrl, env: { GMP_SCHEDULER_ACTIVE: 'false' } })
    expect((await again.call('GET', '/status')).body.scheduler_active).toBe(true)
  })
})
