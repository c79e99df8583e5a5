/** Rounds with attachments: how fast they go, how often they are fetched, and how much memory the largest take. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startService, startSink, usage } from './child.js'
import { createClient, messages } from './client.js'

export interface AttachmentFigures {
  /** Messages a second with one attachment of 100 KB. */
  readonly base64: number
  readonly endpoint: number
  readonly volume: number
  /** 1,000 messages that share one attachment of 1 MB. */
  readonly shared: { readonly perSecond: number; readonly fetches: number }
  /** Highest RSS, MB, while ten messages with 50 MB each are sent at once. */
  readonly remoteMb: number
  readonly inlineMb: number
}

const KB100 = randomBytes(100 * 1024)
const MB1 = randomBytes(1024 * 1024)
const MB50 = randomBytes(50 * 1024 * 1024)

export async function measureAttachments(
  databaseUrl: string | null,
  scale: number,
  say: (line: string) => void,
): Promise<AttachmentFigures> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-bench-files-'))
  const files = await startFiles()
  const sink = await startSink()
  await writeFile(join(dir, 'kb100.bin'), KB100)
  const env = {
    GMP_ALLOW_PRIVATE_NETWORKS: 'true',
    GMP_MAX_BODY_MB: '80',
    GMP_ATTACHMENT_MAX_MB: '60',
    GMP_CACHE_DISK_DIR: join(dir, 'cache'),
    GMP_CACHE_DISK_MAX_MB: '2000',
  }
  const service = await startService(databaseUrl, env)
  const client = createClient(service.url, 20)
  const send = async (count: number, attachment: Record<string, unknown>, batch: number) => {
    const all = messages(count, { attachments: [{ filename: 'a.bin', ...attachment }] })
    let most = 0
    let isOver = false
    const watch = (async () => {
      while (!isOver) {
        most = Math.max(most, usage(service.pid).rssMb)
        await new Promise(done => setTimeout(done, 20))
      }
    })()
    const from = performance.now()
    for (let i = 0; i < all.length; i += batch) {
      await client.post('/commands/add-messages', { messages: all.slice(i, i + batch) })
    }
    while ((await pending(client)) > 0) {
      await new Promise(done => setTimeout(done, 20))
    }
    const seconds = (performance.now() - from) / 1000
    isOver = true
    await watch
    return { perSecond: count / seconds, most }
  }
  try {
    const port = sink.port
    await client.post('/account', {
      id: 'main',
      tenant_id: 'default',
      host: '127.0.0.1',
      port,
      use_tls: false,
      max_connections: 20,
    })
    await client.post('/tenant', { id: 'default', client_base_url: files.url })
    await client.post('/volume', { name: 'disk', backend: 'local', config: { root: dir } })
    // A first one opens the connections and fills the cache.
    const cached = { storage_path: 'kb100', content_md5: md5(KB100) }
    await send(20, cached, 20)
    say('attachments: 100 KB as base64')
    const base64 = await send(1_000 * scale, { storage_path: `base64:${KB100.toString('base64')}` }, 50)
    say('attachments: 100 KB from a cached endpoint')
    const endpoint = await send(2_000 * scale, cached, 100)
    say('attachments: 100 KB from a local volume')
    const volume = await send(2_000 * scale, { storage_path: 'disk:kb100.bin' }, 100)
    say('attachments: 1,000 messages share 1 MB')
    const before = files.asked.get('mb1') ?? 0
    const shared = await send(1_000 * scale, { storage_path: 'mb1', content_md5: md5(MB1) }, 100)
    const fetches = (files.asked.get('mb1') ?? 0) - before
    say('attachments: ten of 50 MB from a URL')
    const remote = await send(10, { storage_path: `${files.url}/mb50` }, 10)
    say('attachments: ten of 50 MB as base64')
    // One message a request: it has 67 MB.
    const inline = await send(10, { storage_path: `base64:${MB50.toString('base64')}` }, 1)
    return {
      base64: base64.perSecond,
      endpoint: endpoint.perSecond,
      volume: volume.perSecond,
      shared: { perSecond: shared.perSecond, fetches },
      remoteMb: remote.most,
      inlineMb: inline.most,
    }
  } finally {
    await client.close()
    await service.stop()
    await sink.stop()
    await files.close()
    await rm(dir, { recursive: true, force: true })
  }
}

async function pending(client: ReturnType<typeof createClient>): Promise<number> {
  const { messages: open } = (await client.get('/messages?tenant_id=default&active_only=true&limit=1')) as {
    messages: unknown[]
  }
  return open.length
}

/** What the endpoint and the URLs hold, and how often each was asked for. */
async function startFiles() {
  const contents: Readonly<Record<string, Buffer>> = { kb100: KB100, mb1: MB1, mb50: MB50 }
  const asked = new Map<string, number>()
  const server: Server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    if (request.url === '/mail-proxy/sync') return void response.end('{"ok":true}')
    const name = request.method === 'POST' ? JSON.parse(text).storage_path : (request.url ?? '').slice(1)
    asked.set(name, (asked.get(name) ?? 0) + 1)
    const content = contents[name]
    if (content === undefined) return void response.writeHead(404).end()
    response.writeHead(200, { 'content-length': content.length }).end(content)
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    close: () => {
      server.closeAllConnections()
      return new Promise<void>(done => server.close(() => done()))
    },
  }
}

function md5(content: Buffer): string {
  return createHash('md5').update(content).digest('hex')
}
