/** Large attachments: warned of, refused, or put out as links that can be followed until their time is over. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PostalMime, { type Email } from 'postal-mime'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createMovingClock } from '../support/moving-clock.js'
import { opened, openScene, type Scene, type SceneOptions } from '../support/scene.js'
import { AZURITE, startAzurite, startS3 } from '../support/stores.js'
import { deadPort, expectBalanced, tenant } from '../support/story.js'

const DAY_MS = 24 * 3600 * 1000
const BIG = randomBytes(2 * 1024 * 1024)
const SMALL = randomBytes(1_000)
const S3_KEYS = { access_key_id: 'S3RVER', secret_access_key: 'S3RVER' }

const attached = (content: Buffer, filename = 'f.bin', more: object = {}) => ({
  filename,
  storage_path: `base64:${content.toString('base64')}`,
  ...more,
})

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gmp-offload-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
})

/** A service whose default tenant rewrites what is over 1 MB to files in `dir`, unless `config` says otherwise. */
async function openRewriting(config: object = {}, options: SceneOptions = {}): Promise<Scene & { base: string }> {
  const scene = await openScene(options)
  const base = `${scene.service.url}/files`
  await tenant(scene.service, 'default', scene.client, { large_file_config: { ...rewriting(base), ...config } })
  return Object.assign(scene, { base })
}

const rewriting = (public_base_url: string) => ({
  enabled: true,
  max_size_mb: 1,
  action: 'rewrite',
  storage_url: `file://${dir}`,
  public_base_url,
})

/** The mail of a message as its recipient's reader has it. */
async function mailOf({ sink }: Scene, id: string): Promise<Email> {
  for (const { raw } of sink.messages) {
    const mail = await PostalMime.parse(raw)
    if (mail.headers.some(({ key, value }) => key === 'x-genro-mail-id' && value === id)) return mail
  }
  throw new Error(`no mail of ${id}`)
}

/** The links in plain text, in order. */
const linksIn = (text: string | undefined) => [...(text ?? '').matchAll(/https?:\/\/\S+/g)].map(([url]) => url)
const linkIn = (text: string | undefined) => linksIn(text)[0]!

async function fetched(url: string, init: RequestInit = {}) {
  const answer = await fetch(url, { redirect: 'manual', ...init })
  const octets = Buffer.from(await answer.arrayBuffer())
  const isJson = answer.headers.get('content-type')?.startsWith('application/json') === true
  return {
    status: answer.status,
    headers: answer.headers,
    octets,
    code: isJson ? JSON.parse(String(octets)).code : null,
  }
}

const filesIn = async () =>
  (await readdir(dir, { recursive: true, withFileTypes: true })).filter(each => each.isFile()).map(each => each.name)

async function rowsOf({ service }: Scene) {
  return service.service.db!.read({ sql: 'select * from offloads', params: [] })
}

describe.each(['sqlite', 'postgres'] as const)('large files, on %s', dialect => {
  it('the recipient fetches by the link what was too large, and gets the rest with the mail', async () => {
    const scene = await openRewriting({}, { dialect })
    const { service, client } = scene
    await service.send({
      id: 'm1',
      body: 'Hello',
      attachments: [attached(BIG, 'Angebot für Ädä (1).bin', { mime_type: 'text/html' }), attached(SMALL, 's.bin')],
    })
    await expectBalanced(service, client, ['m1'])
    const mail = await mailOf(scene, 'm1')
    expect(mail.attachments.map(each => each.filename)).toEqual(['s.bin'])
    expect(mail.text).toMatch(
      /^Hello\n\n[\s\S]*Angebot für Ädä \(1\)\.bin {2}2\.0 MB {2}until \d{4}-\d\d-\d\d \d\d:\d\d UTC\n/,
    )
    const { status, headers, octets } = await fetched(linkIn(mail.text))
    expect([status, octets.equals(BIG)]).toEqual([200, true])
    expect(headers.get('content-length')).toBe(String(BIG.length))
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('content-disposition')).toMatch(/^attachment; .*filename\*=UTF-8''Angebot%20f%C3%BCr/)
    const head = await fetched(linkIn(mail.text), { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length'), head.octets.length]).toEqual([200, String(BIG.length), 0])
  })

  it('plain, html, both and none: each body there is has the list, and what stood there stays', async () => {
    const scene = await openRewriting({}, { dialect })
    const { service, client } = scene
    const html = '<html><body><p>Hällo</p></body></html>'
    const attachments = [attached(BIG)]
    await service.send(
      { id: 'html', content_type: 'html', body: html, attachments },
      { id: 'both', body: '', body_text: 'Hällo\n', body_html: html, attachments },
      { id: 'none', body: '', attachments },
    )
    await expectBalanced(service, client, ['html', 'both', 'none'])
    for (const id of ['html', 'both']) {
      const mail = await mailOf(scene, id)
      expect(mail.html).toMatch(/^<html><body><p>Hällo<\/p>\s*<div [\s\S]*<\/div>\s*<\/body><\/html>\s*$/)
      const [, url = ''] = /<a href="([^"]+)"/.exec(mail.html!)!
      expect((await fetched(url.replaceAll('&#38;', '&'))).octets.equals(BIG)).toBe(true)
    }
    expect((await mailOf(scene, 'both')).text).toMatch(/^Hällo\n\nAttachments/)
    const none = await mailOf(scene, 'none')
    expect([none.html, linksIn(none.text).length]).toEqual([undefined, 1])
  })

  it('a picture that the html shows stays in the mail, one that it does not show goes out', async () => {
    const scene = await openRewriting({}, { dialect })
    const { service, client } = scene
    const attachments = [
      attached(BIG, 'shown.png', { content_id: 'shown@x' }),
      attached(BIG, 'unused.png', { content_id: 'unused@x' }),
    ]
    await service.send({ id: 'm1', content_type: 'html', body: '<img src="cid:shown@x">', attachments })
    await expectBalanced(service, client, ['m1'])
    const mail = await mailOf(scene, 'm1')
    expect(mail.attachments.map(each => each.filename)).toEqual(['shown.png'])
    expect(mail.html).toContain('>unused.png</a>')
  })

  it('the same content goes up once, and a retry keeps its link', async () => {
    let isBusy = true
    const scene = await openRewriting(
      {},
      { dialect, sink: { behave: { data: () => (isBusy ? '451 4.3.0 Busy' : null) } } },
    )
    const { service, client, reports } = scene
    const ids = ['m1', 'm2', 'm3', 'm4', 'm5']
    const attachments = [attached(BIG)]
    await service.send(...ids.map(id => ({ id, attachments })))
    await service.until('deferrals', () => ids.every(id => reports(id).some(each => each.deferred_ts !== undefined)))
    const before = await rowsOf(scene)
    isBusy = false
    await expectBalanced(service, client, ids)
    await service.send({ id: 'later', attachments }, { id: 'renamed', attachments: [attached(BIG, 'g.bin')] })
    await expectBalanced(service, client, [...ids, 'later', 'renamed'])
    expect(before).toHaveLength(1)
    const links = await Promise.all([...ids, 'later'].map(async id => linkIn((await mailOf(scene, id)).text)))
    expect(new Set(links).size).toBe(1)
    expect(links[0]).toContain(`/${before[0]!.id}/f.bin?`)
    expect((await filesIn()).sort()).toEqual(['f.bin', 'g.bin'])
  })

  it('a link that lives less than half its time is renewed, and after its time the file is gone', async () => {
    const clock = createMovingClock()
    const scene = await openRewriting({ file_ttl_days: 10 }, { dialect, overrides: { clock } })
    const { service, client } = scene
    const send = async (id: string, all: string[]) => {
      await service.send({ id, attachments: [attached(BIG)] })
      await expectBalanced(service, client, all)
      return linkIn((await mailOf(scene, id)).text)
    }
    const first = await send('m1', ['m1'])
    await clock.move(4 * DAY_MS)
    expect(await send('m2', ['m1', 'm2'])).toBe(first)
    await clock.move(2 * DAY_MS)
    const renewed = await send('m3', ['m1', 'm2', 'm3'])
    expect(new URL(renewed).pathname).toBe(new URL(first).pathname)
    expect(renewed).not.toBe(first)
    await clock.move(5 * DAY_MS)
    expect(await fetched(first)).toMatchObject({ status: 410, code: 'gone' })
    expect((await fetched(renewed)).octets.equals(BIG)).toBe(true)
    await clock.move(6 * DAY_MS)
    expect(await fetched(renewed)).toMatchObject({ status: 410 })
    await service.until('the file is removed', async () => {
      await clock.move(60_000)
      return (await rowsOf(scene)).length === 0
    })
    expect(await readdir(dir)).toEqual([])
  })

  it('files outlive a change of the config and their tenant, and are removed at their time', async () => {
    const clock = createMovingClock()
    const scene = await openRewriting({}, { dialect, overrides: { clock } })
    const { service, client, sink, base } = scene
    await tenant(service, 'gone', client, { large_file_config: { ...rewriting(base), file_ttl_days: 1 } })
    await service.account(sink, { tenant_id: 'gone' })
    await service.send({ id: 'm1', tenant_id: 'gone', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1'], 'gone')
    const link = linkIn((await mailOf(scene, 'm1')).text)
    await tenant(service, 'gone', null, { large_file_config: { ...rewriting(base), storage_url: 's3://other/place' } })
    expect((await service.call('DELETE', '/tenant/gone')).status).toBe(200)
    expect((await fetched(link)).octets.equals(BIG)).toBe(true)
    await clock.move(DAY_MS + 1_000)
    await service.until('the file is removed', async () => {
      await clock.move(60_000)
      return (await rowsOf(scene)).length === 0
    })
    expect(await filesIn()).toEqual([])
  })

  it('what a crash left of an upload is removed', async () => {
    const clock = createMovingClock()
    const scene = await openRewriting({}, { dialect, overrides: { clock } })
    const { service, client } = scene
    await service.send({ id: 'm1', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1'])
    await service.service.db!.write([
      { sql: "update offloads set state = 'uploading', expires_at = $1", params: [clock.now() + 6 * 3600 * 1000] },
    ])
    expect(await fetched(linkIn((await mailOf(scene, 'm1')).text))).toMatchObject({ status: 404 })
    await clock.move(6 * 3600 * 1000 + 1_000)
    await service.until('the file is removed', async () => {
      await clock.move(60_000)
      return (await filesIn()).length === 0
    })
  })

  it('reject is an error with the size, warn sends and says so', async () => {
    const scene = await openRewriting({ action: 'reject', storage_url: '' }, { dialect })
    const { service, client, sink, reports } = scene
    await service.send({ id: 'm1', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1'])
    expect(reports('m1').at(-1)).toMatchObject({
      error: "Attachment 'f.bin' (2.0 MB) exceeds limit (1.0 MB)",
      code: 'attachment_too_large',
    })
    expect(sink.connections).toBe(0)
    await tenant(service, 'default', null, { large_file_config: { enabled: true, max_size_mb: 1, action: 'warn' } })
    await service.send({ id: 'm2', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1', 'm2'])
    expect((await mailOf(scene, 'm2')).attachments).toHaveLength(1)
    expect(service.logs).toContain("WARNING Message m2: Attachment 'f.bin' (2.0 MB) exceeds limit (1.0 MB)")
  })

  it('a store that is away defers, one that refuses is an error; no server is asked for either', async () => {
    const s3 = await opened(startS3(), store => store.close())
    const port = await deadPort()
    const at = (endpoint: string, url = 's3://files/out') => ({
      storage_url: url,
      storage_config: { endpoint, ...S3_KEYS },
    })
    const scene = await openRewriting(at(`http://127.0.0.1:${port}`), { dialect })
    const { service, client, sink, reports, base } = scene
    const attachments = [attached(BIG)]
    await service.send({ id: 'm1', attachments })
    await service.until('a deferral', () => reports('m1').some(each => each.deferred_ts !== undefined))
    expect(reports('m1')[0]!.deferred_reason).toBe('Attachment upload failed for f.bin: the connection was refused')
    await tenant(service, 'default', null, {
      large_file_config: { ...rewriting(base), ...at(s3.url, 's3://no-such-bucket') },
    })
    await expectBalanced(service, client, ['m1'])
    expect(reports('m1').at(-1)).toMatchObject({
      error: expect.stringMatching(/^Attachment upload failed for f\.bin: the server answered 404/),
      code: 'attachment_failed',
    })
    expect(sink.connections).toBe(0)
  })
})

describe('links', () => {
  it('of an object store are its own, and end with it: seven days in S3', async () => {
    const s3 = await opened(startS3(), store => store.close())
    const scene = await openRewriting({
      storage_url: 's3://files/out/mail',
      storage_config: { endpoint: s3.url, ...S3_KEYS },
      public_base_url: null,
    })
    const { service, client } = scene
    await service.send({ id: 'm1', attachments: [attached(BIG, 'Ä b.bin')] })
    await expectBalanced(service, client, ['m1'])
    const { text } = await mailOf(scene, 'm1')
    const link = linkIn(text)
    expect(link).toMatch(
      new RegExp(`^${s3.url}/files/out/mail/[\\w-]{22}/%C3%84_b\\.bin\\?.*X-Amz-Expires=604(800|7\\d\\d)&`),
    )
    const until = Date.parse(/until (\S+ \S+) UTC/.exec(text!)![1]!.replace(' ', 'T').concat('Z'))
    expect(Math.abs(until - Date.now() - 7 * DAY_MS)).toBeLessThan(120_000)
    const { octets, headers } = await fetched(link)
    expect(octets.equals(BIG)).toBe(true)
    expect(headers.get('content-disposition')).toContain("filename*=UTF-8''%C3%84%20b.bin")
  })

  it('of our own lead to a fresh link of the object store', async () => {
    const s3 = await opened(startS3(), store => store.close())
    const storage_config = { endpoint: s3.url, ...S3_KEYS }
    const scene = await openRewriting({ storage_url: 's3://files', storage_config })
    const { service, client } = scene
    await service.send({ id: 'm1', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1'])
    const link = linkIn((await mailOf(scene, 'm1')).text)
    expect(link.startsWith(scene.base)).toBe(true)
    const { status, headers } = await fetched(link)
    expect([status, headers.get('location')]).toEqual([302, expect.stringMatching(/X-Amz-Expires=(600|599)&/)])
    expect((await fetched(headers.get('location')!)).octets.equals(BIG)).toBe(true)
  })

  it('of Azure the same', async ({ skip }) => {
    const azurite = await startAzurite()
    if (typeof azurite === 'string') skip(azurite)
    else {
      onTestFinished(() => azurite.close())
      const { BlobServiceClient, StorageSharedKeyCredential } = await import('@azure/storage-blob')
      const endpoint = `${azurite.url}/${AZURITE.account}`
      const credential = new StorageSharedKeyCredential(AZURITE.account, AZURITE.key)
      await new BlobServiceClient(endpoint, credential).getContainerClient('files').createIfNotExists()
      const storage_config = { account_name: AZURITE.account, account_key: AZURITE.key, endpoint }
      const scene = await openRewriting({ storage_url: 'az://files/out', storage_config, public_base_url: '' })
      await scene.service.send({ id: 'm1', attachments: [attached(BIG)] })
      await expectBalanced(scene.service, scene.client, ['m1'])
      expect((await fetched(linkIn((await mailOf(scene, 'm1')).text))).octets.equals(BIG)).toBe(true)
    }
  }, 150_000)

  it('that were changed in anything are refused, and lead nowhere else', async () => {
    const scene = await openRewriting()
    const { service, client, base } = scene
    await service.send({ id: 'm1', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1'])
    const link = linkIn((await mailOf(scene, 'm1')).text)
    const { searchParams, pathname } = new URL(link)
    const [, , id] = pathname.split('/')
    const expires = searchParams.get('expires')!
    const signature = searchParams.get('signature')!
    const query = `?expires=${expires}&signature=${signature}`
    const changed = [
      `${base}/${id}/f.bin`,
      `${base}/${id}/f.bin?expires=${expires}`,
      `${base}/${id}/f.bin?expires=${Number(expires) + 1}&signature=${signature}`,
      `${base}/${id}/f.bin?expires=${expires}&expires=${expires}&signature=${signature}`,
      `${base}/${id}/f.bin?expires=${expires}&signature=${signature}x`,
      `${base}/${id}/f.bin?expires=0${expires}&signature=${signature}`,
      `${base}/${id}/f.bin?expires=-${expires}&signature=${signature}`,
      `${base}/${id}/g.bin${query}`,
      `${base}/${'A'.repeat(22)}/f.bin${query}`,
      `${base}/%2e%2e%2f%2e%2e%2fetc/passwd${query}`,
      `${base}/${id}/..%2f..%2f..%2fetc%2fpasswd${query}`,
    ]
    for (const url of changed) {
      const { status, code } = await fetched(url)
      expect([url, status, code]).toEqual([url, 403, 'forbidden'])
    }
    expect((await fetched(`${base}/..%2f..%2fetc${query}`)).status).toBe(404)
    expect((await fetched(`${base}/${id}/%00${query}`)).status).toBe(422)
    expect((await fetched(link, { method: 'POST' })).status).toBe(405)
    await service.service.db!.write([{ sql: 'delete from offloads', params: [] }])
    expect(await fetched(link)).toMatchObject({ status: 404, code: 'not_found' })
  })

  it('are good at every instance with the same key', async () => {
    const scene = await openRewriting()
    await scene.service.send({ id: 'm1', attachments: [attached(BIG)] })
    await expectBalanced(scene.service, scene.client, ['m1'])
    const link = new URL(linkIn((await mailOf(scene, 'm1')).text))
    const other = await scene.restart()
    expect((await fetched(`${other.url}${link.pathname}${link.search}`)).octets.equals(BIG)).toBe(true)
  })
})

describe('a store that a tenant set', () => {
  it('reaches no private address and nothing of the machine', async () => {
    const s3 = await opened(startS3(), store => store.close())
    const { service, client, sink } = await openScene()
    const key = await tenant(service, 'acme', client)
    await service.account(sink, { tenant_id: 'acme' })
    const put = (large_file_config: object) => service.call('PUT', '/tenant/acme', { large_file_config }, key)
    expect((await put(rewriting('https://files.test'))).status).toBe(422)
    const storage_config = { endpoint: s3.url, ...S3_KEYS }
    const config = { enabled: true, max_size_mb: 1, action: 'rewrite', storage_url: 's3://files', storage_config }
    expect((await put(config)).status).toBe(200)
    await service.send({ id: 'm1', tenant_id: 'acme', attachments: [attached(BIG)] })
    await expectBalanced(service, client, ['m1'], 'acme')
    expect((await service.message('m1', 'acme')).error).toBe(
      'Attachment upload failed for f.bin: its host has no address this service may connect to',
    )
    // Its twin: set by the admin the same store is used.
    await service.call('POST', '/tenant', { id: 'acme', large_file_config: null })
    await service.call('POST', '/tenant', { id: 'acme', large_file_config: config })
    await service.send({ id: 'm2', tenant_id: 'acme', attachments: [attached(BIG)] })
    await service.until('the mail', async () => (await service.message('m2', 'acme')).status === 'sent')
  })
})

describe('a store that fails when files are to be removed', () => {
  it('is told once, and holds up no other', async () => {
    const clock = createMovingClock()
    const s3 = await startS3()
    const scene = await openRewriting({ file_ttl_days: 1 }, { overrides: { clock } })
    const { service, client, sink, base } = scene
    const storage_config = { endpoint: s3.url, ...S3_KEYS }
    await tenant(service, 'other', client, {
      large_file_config: { ...rewriting(base), file_ttl_days: 1, storage_url: 's3://files', storage_config },
    })
    await service.account(sink, { tenant_id: 'other' })
    await service.send(
      { id: 'm1', tenant_id: 'other', attachments: [attached(BIG, 'a'), attached(BIG, 'b')] },
      { id: 'm2', attachments: [attached(BIG)] },
    )
    await service.until('both', () => sink.accepted === 2)
    await expectBalanced(service, client, ['m2'])
    await s3.close()
    await clock.move(DAY_MS + 1_000)
    await service.until('the other store is empty', async () => {
      await clock.move(60_000)
      return (await filesIn()).length === 0
    })
    await clock.move(3_600_000, { stepMs: 60_000 })
    const warnings = service.logs.filter(line => line.includes('past their time cannot be removed'))
    expect(warnings).toEqual([
      'WARNING Large files of tenant other past their time cannot be removed, which is tried again: the connection was refused',
    ])
    expect(await rowsOf(scene)).toHaveLength(2)
  })
})
