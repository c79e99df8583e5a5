/** A service that runs, a client of it and a server for its mail, for the length of one round. */
import { type Running, type Sink, startService, startSink } from './child.js'
import { type Client, createClient } from './client.js'

export interface Rig {
  readonly service: Running
  readonly client: Client
  /** Where the account `main` of the tenant `default` sends. */
  readonly sink: Sink
}

export async function withService<T>(
  { database, env = {} }: { readonly database: string; readonly env?: Record<string, string> },
  work: (rig: Rig) => Promise<T>,
): Promise<T> {
  const sink = await startSink()
  const service = await startService(database, { GMP_ALLOW_PRIVATE_NETWORKS: 'true', ...env })
  const client = createClient(service.url, 64)
  try {
    await client.post('/account', accountAt(sink.port))
    return await work({ service, client, sink })
  } finally {
    await client.close()
    await service.stop()
    await sink.stop()
  }
}

export function accountAt(
  port: number,
  fields: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, unknown>> {
  return { id: 'main', tenant_id: 'default', host: '127.0.0.1', port, use_tls: false, max_connections: 20, ...fields }
}
