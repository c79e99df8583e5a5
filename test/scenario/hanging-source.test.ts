/** Attachments whose source hangs hold up the messages that want them, and nobody else's mail. */
import { afterEach, describe, expect, it } from 'vitest'
import { type HttpSink, startHttpSink } from '../support/http-sink.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many } from '../support/story.js'

const ACCOUNTS = 20
const ENV = {
  GMP_MAX_CONCURRENT_SENDS: '10',
  GMP_SLOW_SEND_SECONDS: '0.5',
  GMP_ALLOWED_NETWORKS: '127.0.0.0/8',
  GMP_STOP_TIMEOUT: '1',
}

describe.each(['sqlite', 'postgres'] as const)('a hanging source, on %s', dialect => {
  let service: TestService
  let busy: SmtpSink
  let live: SmtpSink
  let source: HttpSink

  afterEach(async () => {
    await service.stop()
    await Promise.all([busy, live, source].map(each => each.close()))
  })

  it.each([
    ['another server', false],
    ['the same server', true],
  ])('of many accounts does not delay an account on %s', async (_, isSame) => {
    service = await startTestService({ dialect, env: ENV })
    busy = await startSink()
    live = await startSink()
    source = await startHttpSink(() => ({ hang: 'body' }))
    const names = Array.from({ length: ACCOUNTS }, (__, i) => `busy${i}`)
    for (const id of names) await service.account(busy, { id })
    const target = isSame ? busy : live
    await service.account(target, { id: 'live' })
    // All have shown that they answer quickly, so that batches are claimed ahead for them.
    await service.send(...names.flatMap(account_id => many(5, `${account_id}-w`, { account_id })))
    await service.send({ id: 'warm', account_id: 'live' })
    await busy.waitFor(ACCOUNTS * 5)
    // Each its own place: what is the same is fetched once.
    const hanging = (id: string) => [{ filename: 'f', storage_path: `${source.url}/${id}` }]
    const slow = names.flatMap(account_id => many(25, `${account_id}-s`, { account_id }))
    await service.send(...slow.map(each => ({ ...each, attachments: hanging(String(each.id)) })))
    await service.until('many are waited for', () => source.requests.length >= 5)

    const delays: number[] = []
    for (let i = 0; i < 8; i += 1) {
      const before = target.accepted
      const at = Date.now()
      await service.send({ id: `live${i}`, account_id: 'live' })
      await target.waitFor(before + 1)
      delays.push(Date.now() - at)
    }
    // Hanging ones are broken off after GMP_SLOW_SEND_SECONDS; by itself a fetch is given up after 30 s.
    expect(Math.max(...delays)).toBeLessThan(20_000)
  })
})
