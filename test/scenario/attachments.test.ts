/** Attachments by reference: fetched when the mail is sent, from every source, whole and as they were, or told why not. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PostalMime from 'postal-mime'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { type HttpSink, type SinkAnswer, type SinkRequest, startHttpSink } from '../support/http-sink.js'
import { opened, openScene, type Scene } from '../support/scene.js'
import { expectBalanced, tenant } from '../support/story.js'

const SMALL = randomBytes(5_000)
const LARGE = randomBytes(3_000_000)
const FILES: Readonly<Record<string, Buffer>> = { '/small.bin': SMALL, '/large.bin': LARGE }
const md5 = (octets: Buffer) => createHash('md5').update(octets).digest('hex')

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gmp-files-'))
  onTestFinished(() => rm(dir, { recursive: true }))
})

/** A file server and, for POSTs to /mail-proxy/attachments, the client's endpoint. */
function fileServer(answer: (request: SinkRequest) => SinkAnswer = serve): Promise<HttpSink> {
  return opened(startHttpSink(answer), sink => sink.close())
}

function serve({ method, path, json }: SinkRequest): SinkAnswer {
  const name = method === 'POST' ? `/${(json as { storage_path: string }).storage_path}` : path
  const body = FILES[name]
  const headers = { 'content-type': 'application/octet-stream' }
  return body === undefined ? { status: 404, body: {} } : { body, headers }
}

/** The attachments of each mail that the server took, by message id. */
async function received({ sink }: Scene): Promise<Map<string, { filename: string | null; content: Buffer }[]>> {
  const mails = new Map<string, { filename: string | null; content: Buffer }[]>()
  for (const { raw } of sink.messages) {
    const mail = await PostalMime.parse(raw)
    const id = mail.headers.find(({ key }) => key === 'x-genro-mail-id')!.value
    const read = mail.attachments.map(({ filename, content }) => ({
      filename,
      content: Buffer.from(content as ArrayBuffer),
    }))
    mails.set(id, read)
  }
  return mails
}

describe.each(['sqlite', 'postgres'] as const)('attachments, on %s', dialect => {
  it.each([
    ['small', SMALL, 'small.bin'],
    ['large', LARGE, 'large.bin'],
  ] as const)('%s ones arrive intact from every source', async (_, octets, name) => {
    const files = await fileServer()
    const scene = await openScene({ dialect, env: { GMP_ATTACHMENT_BASE_DIR: dir } })
    const { service, client } = scene
    await writeFile(join(dir, name), octets)
    // The origin of an admin-set client_base_url is trusted, though it is a loopback address.
    await tenant(service, 'default', { url: files.url }, { client_auth: { method: 'bearer', token: 'of the client' } })
    files.answer(request => (request.path === '/mail-proxy/sync' ? { body: { ok: true } } : serve(request)))
    for (const volume of [
      { name: 'disk', backend: 'local', config: { root: dir } },
      { name: 'web', backend: 'http', config: { base_url: files.url } },
    ]) {
      expect(await service.call('POST', '/volume', volume)).toMatchObject({ status: 200 })
    }
    const paths: Record<string, Record<string, unknown>> = {
      base64: { storage_path: `base64:${octets.toString('base64')}` },
      endpoint: { storage_path: name },
      http_url: { storage_path: `${files.url}/${name}` },
      filesystem: { storage_path: join(dir, name) },
      relative: { storage_path: name, fetch_mode: 'filesystem' },
      disk: { storage_path: `disk:${name}` },
      web: { storage_path: `web:${name}`, fetch_mode: 'storage' },
    }
    const ids = Object.keys(paths)
    const answer = await service.send(
      ...ids.map(id => ({ id, attachments: [{ filename: `${id}_{MD5:${md5(octets)}}.bin`, ...paths[id] }] })),
    )
    expect(answer).toMatchObject({ queued: ids.length, rejected: [] })
    await scene.sink.waitFor(ids.length)
    const mails = await received(scene)
    for (const id of ids) {
      expect(mails.get(id)?.map(each => each.filename)).toEqual([`${id}.bin`])
      expect(mails.get(id)![0]!.content.equals(octets), id).toBe(true)
    }
    expect(client.requests).toEqual([])
    const asked = files.requests.filter(each => each.path === '/mail-proxy/attachments')
    for (const each of asked) expect(each.headers.authorization).toBe('Bearer of the client')
  })

  it('one fetch serves all messages that wait for the same content, and later ones come from the cache', async () => {
    let release = () => {}
    const gate = new Promise<void>(done => {
      release = done
    })
    const files = await fileServer(request => ({ ...serve(request), after: gate }))
    const scene = await openScene({ dialect, env: { GMP_ALLOW_PRIVATE_NETWORKS: 'true', GMP_CACHE_DISK_DIR: dir } })
    const { service, client } = scene
    const attachments = [{ filename: 'a.bin', storage_path: `${files.url}/large.bin`, content_md5: md5(LARGE) }]
    const ids = Array.from({ length: 30 }, (_, i) => `m${i}`)
    await service.send(...ids.map(id => ({ id, priority: 0, attachments })))
    await files.waitFor(1)
    release()
    await expectBalanced(service, client, ids)
    await service.send({ id: 'later', attachments })
    await expectBalanced(service, client, [...ids, 'later'])
    expect(files.requests).toHaveLength(1)
    // Another tenant that knows the MD5 does not get the content by it.
    await tenant(service, 'other', client)
    await service.account(scene.sink, { tenant_id: 'other' })
    await service.send({ id: 'theirs', tenant_id: 'other', attachments })
    await files.waitFor(2)
  })

  it('what is cached of a tenant goes with it', async () => {
    const files = await fileServer()
    const scene = await openScene({ dialect, env: { GMP_ALLOW_PRIVATE_NETWORKS: 'true', GMP_CACHE_DISK_DIR: dir } })
    const { service, client, sink } = scene
    await tenant(service, 'other', client)
    await service.account(sink, { tenant_id: 'other' })
    const attachments = [{ filename: 'a.bin', storage_path: `${files.url}/large.bin`, content_md5: md5(LARGE) }]
    await service.send({ id: 'theirs', tenant_id: 'other', attachments })
    await sink.waitFor(1)
    expect(await readdir(dir)).toHaveLength(1)
    expect(await service.call('DELETE', '/tenant/other')).toMatchObject({ status: 200 })
    expect(await readdir(dir)).toEqual([])
  })

  it('what will never work is an error at once that names the file and why, without an SMTP connection', async () => {
    const files = await fileServer(request => {
      if (request.path === '/forbidden') return { status: 403 }
      if (request.path === '/endless') return { body: Buffer.alloc(3 * 1024 * 1024) }
      return serve(request)
    })
    const env = { GMP_ALLOW_PRIVATE_NETWORKS: 'true', GMP_ATTACHMENT_MAX_MB: '2', GMP_ATTACHMENT_BASE_DIR: dir }
    const scene = await openScene({ dialect, env })
    const { service, client, sink, reports } = scene
    await symlink('/etc/passwd', join(dir, 'link'))
    await mkdir(join(dir, 'folder'))
    const cases: Record<string, [Record<string, unknown>, RegExp]> = {
      missing: [{ storage_path: `${files.url}/nowhere` }, /the server answered 404/],
      forbidden: [{ storage_path: `${files.url}/forbidden` }, /the server answered 403/],
      endless: [{ storage_path: `${files.url}/endless` }, /no more than 2\.0 MB are fetched/],
      other: [{ storage_path: `${files.url}/small.bin`, content_md5: '0'.repeat(32) }, /its MD5 should be 0+ and is/],
      link: [{ storage_path: join(dir, 'link') }, /leads out of the directory/],
      outside: [{ storage_path: '/etc/passwd' }, /Attachment fetch failed/],
      folder: [{ storage_path: join(dir, 'folder') }, /no regular file/],
    }
    const ids = Object.keys(cases)
    const rejected = (
      await service.send(...ids.map(id => ({ id, attachments: [{ filename: `${id}.txt`, ...cases[id]![0] }] })))
    ).rejected
    expect(rejected).toEqual([])
    await expectBalanced(service, client, ids)
    for (const id of ids) {
      const [entry] = reports(id)
      expect(entry, id).toMatchObject({ error: expect.stringMatching(cases[id]![1]), code: 'attachment_failed' })
      expect(entry!.error).toContain(`Attachment fetch failed for ${id}.txt: `)
    }
    expect(sink.connections).toBe(0)
  })

  it('what may pass is tried again like an SMTP failure, and goes when the source is mended', async () => {
    let isDown = true
    const files = await fileServer(request => (isDown ? { status: 503 } : serve(request)))
    const scene = await openScene({ dialect, env: { GMP_ALLOW_PRIVATE_NETWORKS: 'true' } })
    const { service, client, sink, reports } = scene
    const at = (path: string) => ({ filename: 'a.bin', storage_path: `${files.url}${path}` })
    await service.send({ id: 'm1', attachments: [at('/small.bin')] })
    await service.until('a deferral', () => reports('m1').some(each => each.deferred_ts !== undefined))
    expect(sink.connections).toBe(0)
    expect(reports('m1')[0]!.deferred_reason).toBe('Attachment fetch failed for a.bin: the server answered 503')
    isDown = false
    await expectBalanced(service, client, ['m1'])
    expect((await received(scene)).get('m1')![0]!.content.equals(SMALL)).toBe(true)
  })

  it('a source that stalls costs its message no more than its time', async () => {
    const files = await fileServer(() => ({ hang: 'body', body: 'a' }))
    const env = { GMP_ALLOW_PRIVATE_NETWORKS: 'true', GMP_ATTACHMENT_TIMEOUT: '1', GMP_MAX_RETRIES: '0' }
    const { service, client, sink, reports } = await openScene({ dialect, env })
    await service.send({ id: 'm1', attachments: [{ filename: 'a.bin', storage_path: `${files.url}/x` }] }, { id: 'm2' })
    await expectBalanced(service, client, ['m1', 'm2'])
    expect(reports('m1').at(-1)!.error).toMatch(/not fetched within 1 s/)
    expect(sink.accepted).toBe(1)
  })
})

it('a long text that is only called storage_path is judged as it came', async () => {
  const { service } = await openScene()
  const long = 'A'.repeat(2_000_000)
  const attachments = [{ filename: 'a', storage_path: `base64:${long}` }]
  const answer = await service.send(
    { id: 'm1', attachments, headers: { storage_path: long } },
    { id: 'm2', attachments },
  )
  expect(answer).toMatchObject({ queued: 1, rejected: [{ id: 'm1', field: expect.stringContaining('headers') }] })
})

describe('a tenant’s key', () => {
  it('reads files below its own directory only', async () => {
    const { service, client, sink, reports } = await openScene({ env: { GMP_ATTACHMENT_BASE_DIR: dir } })
    const key = await tenant(service, 'acme', client)
    await service.account(sink, { tenant_id: 'acme' })
    await mkdir(join(dir, 'acme'))
    await mkdir(join(dir, 'other'))
    await writeFile(join(dir, 'acme', 'a.txt'), 'own')
    await writeFile(join(dir, 'other', 'b.txt'), 'foreign')
    const mail = (id: string, storage_path: string) => ({
      id,
      from: 'a@x.test',
      to: 'b@y.test',
      subject: 's',
      attachments: [{ filename: 'f.txt', storage_path, fetch_mode: 'filesystem' }],
    })
    const messages = [
      mail('own', 'a.txt'),
      mail('own absolute', join(dir, 'acme', 'a.txt')),
      mail('foreign', join(dir, 'other', 'b.txt')),
    ]
    expect((await service.call('POST', '/commands/add-messages', { messages }, key)).body).toMatchObject({ queued: 3 })
    await expectBalanced(
      service,
      client,
      messages.map(each => each.id),
      'acme',
    )
    expect(sink.accepted).toBe(2)
    expect(reports('foreign').at(-1)!.error).toMatch(/Attachment fetch failed for f.txt/)
    expect(sink.messages.map(({ raw }) => raw.toString()).join()).not.toContain(
      Buffer.from('foreign').toString('base64'),
    )
  })

  it.each([
    'http://127.0.0.1:PORT/x',
    'http://localhost:PORT/x',
    'http://2130706433:PORT/x',
    'http://0x7f.1:PORT/x',
    'http://[::ffff:127.0.0.1]:PORT/x',
    'http://169.254.169.254/latest/meta-data/',
  ])('and anybody’s message reaches no private address: %s', async url => {
    const files = await fileServer()
    const { service, client, reports } = await openScene()
    const storage_path = url.replace('PORT', String(files.port))
    await service.send({ id: 'm1', attachments: [{ filename: 'a', storage_path }] })
    await expectBalanced(service, client, ['m1'])
    expect(reports('m1').at(-1)!.error).toMatch(/no address this service may connect to/)
    expect(files.connections()).toBe(0)
  })

  it('and the origin of a volume only while there is that volume', async () => {
    const files = await fileServer()
    const { service } = await openScene()
    const statusOf = async (id: string) => {
      await service.send({ id, attachments: [{ filename: 'a', storage_path: `${files.url}/small.bin` }] })
      return service.until('the end', async () => {
        const { status } = await service.message(id)
        return ['sent', 'error'].includes(status) && status
      })
    }
    expect(await statusOf('before')).toBe('error')
    await service.call('POST', '/volume', { name: 'web', backend: 'http', config: { base_url: files.url } })
    expect(await statusOf('with')).toBe('sent')
    await service.call('DELETE', '/volume/web')
    expect(await statusOf('after')).toBe('error')
  })

  it('nor by a redirect', async () => {
    const inner = await fileServer()
    const outer = await fileServer(() => ({ status: 302, headers: { location: `${inner.url}/secret` } }))
    const { service, client, reports } = await openScene({ env: { GMP_ALLOWED_NETWORKS: '127.0.0.2' } })
    // The first hop is the admin-set origin, the second is not.
    await tenant(service, 'default', { url: outer.url })
    const { service: same } = { service }
    await same.send({ id: 'm1', attachments: [{ filename: 'a', storage_path: `${outer.url}/x` }] })
    await service.until('the end', async () => (await service.message('m1')).status === 'error')
    expect((await service.message('m1')).error).toMatch(/no address this service may connect to/)
    expect(inner.connections()).toBe(0)
    expect([client.requests.length, reports('m1').length]).toEqual([0, 0])
  })
})
