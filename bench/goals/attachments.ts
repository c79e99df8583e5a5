/** Beside the goals, mail with attachments: how fast they go, how often they are fetched, and how much memory the largest take. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Bench, Figure } from '../bench.js'
import { usage } from '../child.js'
import type { Database } from '../databases.js'
import { figure } from '../figures.js'
import { submit, untilEmpty } from '../load.js'
import { type Fields, requests } from '../messages.js'
import { type Rig, withService } from '../rig.js'

const KB100 = randomBytes(100 * 1024)
const MB1 = randomBytes(1024 * 1024)
const MB50 = randomBytes(50 * 1024 * 1024)

export async function attachments(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) figures.push(...(await attachmentsOn(bench, database)))
  return figures
}

async function attachmentsOn(bench: Bench, database: Database): Promise<Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-bench-files-'))
  const files = await startFiles()
  await writeFile(join(dir, 'kb100.bin'), KB100)
  const env = {
    GMP_MAX_BODY_MB: '80',
    GMP_ATTACHMENT_MAX_MB: '60',
    GMP_CACHE_DISK_DIR: join(dir, 'cache'),
    GMP_CACHE_DISK_MAX_MB: '2000',
  }
  try {
    return await withService({ database: await database.fresh(), env }, async rig => {
      const { client } = rig
      await client.post('/tenant', { id: 'default', client_base_url: files.url })
      await client.post('/volume', { name: 'disk', backend: 'local', config: { root: dir } })
      const send = (count: number, attachment: Fields, batch: number) => {
        bench.say(`${database.name}: ${count} messages with ${String(attachment.storage_path).slice(0, 20)}`)
        return sendWith(rig, count, attachment, batch)
      }
      // A first one opens the connections and fills the cache.
      const cached = { storage_path: 'kb100', content_md5: md5(KB100) }
      await send(20, cached, 20)
      const row = (what: string, value: number, unit: Figure['unit']) => figure(null, database, what, value, unit)
      const base64 = await send(bench.count(1_000), { storage_path: `base64:${KB100.toString('base64')}` }, 50)
      const endpoint = await send(bench.count(2_000), cached, 100)
      const volume = await send(bench.count(2_000), { storage_path: 'disk:kb100.bin' }, 100)
      const before = files.asked.get('mb1') ?? 0
      const shared = await send(bench.count(1_000), { storage_path: 'mb1', content_md5: md5(MB1) }, 100)
      const fetches = (files.asked.get('mb1') ?? 0) - before
      const most = bench.isQuick ? 2 : 10
      const remote = await send(most, { storage_path: `${files.url}/mb50` }, most)
      // One message a request: it has 67 MB.
      const inline = await send(most, { storage_path: `base64:${MB50.toString('base64')}` }, 1)
      return [
        row('with 100 KB attached as base64', base64.perSecond, 'messages/s'),
        row('with 100 KB from a cached endpoint', endpoint.perSecond, 'messages/s'),
        row('with 100 KB from a local volume', volume.perSecond, 'messages/s'),
        row('with 1 MB that all share', shared.perSecond, 'messages/s'),
        row('how often that was fetched', fetches, 'times'),
        row('highest RSS with ten messages of 50 MB at once, from URLs', remote.rssMb, 'MB'),
        row('highest RSS with ten messages of 50 MB at once, inline base64', inline.rssMb, 'MB'),
      ]
    })
  } finally {
    await files.close()
    await rm(dir, { recursive: true, force: true })
  }
}

async function sendWith({ client, service }: Rig, count: number, attachment: Fields, batch: number) {
  const made = requests(count, batch, { attachments: [{ filename: 'a.bin', ...attachment }] })
  let rssMb = 0
  const watch = setInterval(() => {
    rssMb = Math.max(rssMb, usage(service.pid).rssMb)
  }, 20)
  const from = performance.now()
  await submit(client, made, 1)
  await untilEmpty(client)
  const perSecond = count / ((performance.now() - from) / 1000)
  clearInterval(watch)
  return { perSecond, rssMb }
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
