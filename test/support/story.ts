/** Pieces that scenario stories share: many messages, tenants with their own report client, ports where nobody is. */
import { createServer } from 'node:net'
import { expect } from 'vitest'
import type { ReportClient } from './report-client.js'
import type { TestService } from './service.js'

/** `count` messages with ids prefix1, prefix2, … */
export function many(count: number, prefix: string, fields: Record<string, unknown> = {}): Record<string, unknown>[] {
  return Array.from({ length: count }, (_, i) => ({ id: `${prefix}${i + 1}`, ...fields }))
}

/** A new tenant, or the one there is, whose reports go to `client`. Answers its API key, null when it was there. */
export async function tenant(
  service: TestService,
  id: string,
  client: Pick<ReportClient, 'url'> | null,
  fields: Record<string, unknown> = {},
): Promise<string> {
  const { status, body } = await service.call('POST', '/tenant', {
    id,
    ...(client === null ? {} : { client_base_url: client.url }),
    ...fields,
  })
  if (status !== 200) throw new Error(`tenant ${id}: ${status} ${JSON.stringify(body)}`)
  return body.api_key
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function deadPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  await new Promise(done => server.close(done))
  return port
}

/** The figure of one series at /metrics; 0 when it is not there. */
export async function metric(service: TestService, series: string): Promise<number> {
  const { body } = await service.call('GET', '/metrics')
  const line = String(body)
    .split('\n')
    .find(each => each.startsWith(`${series} `))
  return line === undefined ? 0 : Number(line.slice(series.length + 1))
}

/** Until nothing is owed and no call is in flight, which time that is moved would cut off and repeat. */
export async function untilReported(service: TestService, tenantId = 'default'): Promise<void> {
  await service.until('all acknowledged', async () => {
    const [row] = await service.service.db!.read({
      sql: 'select count(*) as n from events where tenant_id = $1 and pending > 0',
      params: [tenantId],
    })
    return Number(row?.n) === 0
  })
}

/**
 * The two ledgers: each of these messages has ended once, in this process's database and at the tenant's client, with
 * the same words; nothing of the tenant is left to send or to tell.
 */
export async function expectBalanced(
  service: TestService,
  client: ReportClient,
  ids: readonly string[],
  tenantId = 'default',
): Promise<void> {
  await service.until(`${ids.length} final reports`, () => client.finals().length >= ids.length)
  await untilReported(service, tenantId)
  const rows = await service.service.db!.read({
    sql: `select m.id, m.status, m.stage, m.reported_at,
        (select count(*) from events e where e.seq = m.seq and e.type in ('sent', 'error', 'cancelled')) as ends
      from messages m where m.tenant_id = $1`,
    params: [tenantId],
  })
  const wrong = rows.filter(row => Number(row.stage) !== 0 || Number(row.ends) !== 1 || row.reported_at === null)
  expect(wrong).toEqual([])
  expect(rows.map(row => row.id as string).sort()).toEqual([...ids].sort())
  const finals = client.finals().filter(each => each.tenant_id === tenantId)
  expect(finals.map(({ id }) => id).sort()).toEqual([...ids].sort())
  const statusOf = new Map(rows.map(row => [row.id, row.status]))
  for (const entry of finals)
    expect([entry.id, entry.sent_ts !== undefined]).toEqual([entry.id, statusOf.get(entry.id) === 'sent'])
}
