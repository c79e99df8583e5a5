/** A database that takes claims and refuses their results: what was sent is told as doubtful, and never sent again unsaid. */
import { expect, it } from 'vitest'
import { openScene } from '../support/scene.js'
import { expectBalanced, metric } from '../support/story.js'

it('is tried again, then the message is in doubt and not as if never sent', async () => {
  const { service, sink, client, reports } = await openScene({ env: { GMP_RETRY_DELAYS: '1' } })
  const { db } = service.service
  await db!.write([
    {
      sql: `create trigger refuse before update of status on messages when new.status = 'sent'
        begin select raise(abort, 'permission revoked'); end`,
      params: [],
    },
  ])
  await service.send({ id: 'm1' })
  await service.until('the doubt', () => reports('m1').some(each => each.in_doubt_ts !== undefined))
  expect(service.logs.join('\n')).toMatch(/ERROR The result of message m1 could not be recorded/)
  await db!.write([{ sql: 'drop trigger refuse', params: [] }])
  await expectBalanced(service, client, ['m1'])
  expect(sink.accepted).toBeGreaterThan(1)
  expect(reports('m1').at(-1)).toMatchObject({ sent_ts: expect.any(Number) })
  expect(await metric(service, 'gmp_in_doubt_total{tenant_id="default",account_id="main"}')).toBeGreaterThan(0)
})
