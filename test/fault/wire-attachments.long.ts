/**
 * A source of attachments that resets, hangs, trickles or speaks no HTTP, at each phase of a fetch: the fetch ends in its
 * time, the message is tried again without having asked its SMTP server, and goes once the source is mended.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Readable } from 'node:stream'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openStore } from '../../src/attachments/stores/open-store.js'
import type { Backend } from '../../src/attachments/stores/store.js'
import { startHttpSink } from '../support/http-sink.js'
import { type Link, type Script, startProxy, type TcpProxy } from '../support/proxy.js'
import { opened } from '../support/scene.js'
import { startTestService, type TestService } from '../support/service.js'
import { startSink } from '../support/smtp-sink.js'
import { startS3, startWebdav } from '../support/stores.js'
import { tenant } from '../support/story.js'

vi.setConfig({ testTimeout: 90_000 })

/** More than is kept in memory. */
const CONTENT = Buffer.alloc(600_000, 'of a large file. ')

interface Fault {
  readonly reason: RegExp
  /** What is done in place of the first octets of this phase; what it answers is passed on. */
  readonly at: 'request' | 'head' | 'body'
  meddle(link: Link, octets: Buffer): Buffer | null
}

const reset = (link: Link) => {
  link.reset()
  return null
}
const hang = (link: Link) => {
  link.freeze()
  return null
}
const drip = (link: Link, octets: Buffer) => {
  link.slow(1_000, 1)
  return octets
}
const BROKEN = /the connection broke off/
const LATE = /(not fetched|no answer) within 2 s/

const FAULTS: Readonly<Record<string, Fault>> = {
  'reset-of-the-request': { reason: BROKEN, at: 'request', meddle: reset },
  'half-open-from-the-request': { reason: LATE, at: 'request', meddle: hang },
  'reset-of-the-head': { reason: BROKEN, at: 'head', meddle: reset },
  'reset-in-the-head': {
    reason: BROKEN,
    at: 'head',
    meddle(link, octets) {
      link.toClient(octets.subarray(0, 12))
      return reset(link)
    },
  },
  'half-open-from-the-head': { reason: LATE, at: 'head', meddle: hang },
  'an-octet-a-second-of-the-head': { reason: LATE, at: 'head', meddle: drip },
  garbage: { reason: /did not speak HTTP/, at: 'head', meddle: () => Buffer.from('\x16\x03\x01 no HTTP\r\n\r\n') },
  'endless-head': {
    reason: /the store failed \((UND_ERR_HEADERS_OVERFLOW|HPE_HEADER_OVERFLOW)\)|did not speak HTTP/,
    at: 'head',
    meddle: () => Buffer.from(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(500_000)}`),
  },
  'reset-in-the-body': { reason: BROKEN, at: 'body', meddle: reset },
  'half-open-in-the-body': { reason: LATE, at: 'body', meddle: hang },
  'an-octet-a-second-of-the-body': { reason: LATE, at: 'body', meddle: drip },
}

function scriptOf({ at, meddle }: Fault): Script {
  let sawHead = false
  return {
    fromClient: (octets, link) => (at === 'request' ? meddle(link, octets) : octets),
    fromServer(octets, link) {
      const isBody = sawHead
      sawHead = true
      return at === 'head' || (at === 'body' && isBody) ? meddle(link, octets) : octets
    },
  }
}

/** A message's tenant and attachment, whose file is behind the proxy at this URL. */
interface Named {
  readonly tenant_id: string
  readonly storage_path: string
}

interface Source {
  /** Whose server stands behind the proxy. */
  readonly server: 'http' | 's3' | 'webdav'
  /** Sets up what the message needs, as an admin does. */
  name(service: TestService, id: string, url: string): Promise<Named>
}

async function volume(service: TestService, name: string, backend: Backend, config: object): Promise<Named> {
  expect((await service.call('POST', '/volume', { name, backend, config })).status).toBe(200)
  return { tenant_id: 'default', storage_path: `${name}:large.bin` }
}

const S3 = { bucket: 'files', access_key_id: 'S3RVER', secret_access_key: 'S3RVER' }
const WEBDAV = { user: 'ada', password: 'pä-ss' }

const SOURCES: Readonly<Record<string, Source>> = {
  url: { server: 'http', name: async (_, __, url) => ({ tenant_id: 'default', storage_path: `${url}/large.bin` }) },
  endpoint: {
    server: 'http',
    async name(service, id, url) {
      await tenant(service, id, { url })
      return { tenant_id: id, storage_path: 'large.bin' }
    },
  },
  s3: { server: 's3', name: (service, id, url) => volume(service, id, 's3', { endpoint: url, ...S3 }) },
  webdav: { server: 'webdav', name: (service, id, url) => volume(service, id, 'webdav', { url, ...WEBDAV }) },
}

/** Files without a name that this process holds open: what is fetched and too large for memory. */
const spooled = () =>
  readdirSync('/proc/self/fd').filter(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).endsWith('(deleted)')
    } catch {
      return false
    }
  }).length

/** Connections to these ports that this process has not closed; a half-open one does not see it otherwise. */
function established(ports: readonly number[]): number {
  const remote = new Set(ports.map(port => port.toString(16).toUpperCase().padStart(4, '0')))
  const lines = readFileSync('/proc/self/net/tcp', 'utf8').split('\n')
  return lines.filter(line => {
    const [, , peer = '', state] = line.trim().split(/\s+/)
    return state === '01' && remote.has(peer.split(':')[1] ?? '')
  }).length
}

it.skipIf(process.platform !== 'linux')('a source that fails is left in time, and asked again', async () => {
  const warnings: string[] = []
  const hear = (warning: Error) => void warnings.push(warning.name)
  process.on('warning', hear)
  onTestFinished(() => void process.off('warning', hear))
  const sink = await opened(startSink(), it => it.close())
  const http = await opened(
    startHttpSink(() => ({ body: CONTENT })),
    it => it.close(),
  )
  const s3 = await opened(startS3(), it => it.close())
  const webdav = await opened(startWebdav('basic'), it => it.close())
  const servers = { http: http.url, s3: s3.url, webdav: webdav.url }
  const access = { guard: null, ambient: false, timeoutMs: 5_000 }
  for (const store of [
    await openStore('s3', { endpoint: s3.url, ...S3 }, access),
    await openStore('webdav', { url: webdav.url, ...WEBDAV }, access),
  ]) {
    const file = { path: 'large.bin', sizeBytes: CONTENT.length, mimeType: 'text/plain', filename: 'large.bin' }
    await store.put({ ...file, open: () => Readable.from([CONTENT]) }, new AbortController().signal)
    store.close()
  }
  const env = {
    GMP_ATTACHMENT_TIMEOUT: '2',
    GMP_RETRY_DELAYS: '1',
    GMP_MAX_RETRIES: '50',
    GMP_ALLOW_PRIVATE_NETWORKS: '1',
    GMP_STOP_TIMEOUT: '1',
    GMP_SYNC_TIMEOUT: '2',
  }
  const service = await opened(startTestService({ env }), it => it.stop())
  let isMended = false
  const proxies = new Map<string, TcpProxy>()
  const reasons = new Map<string, RegExp>()
  const messages: object[] = []
  for (const [source, { server, name }] of Object.entries(SOURCES)) {
    const { port } = new URL(servers[server])
    for (const [fault, given] of Object.entries(FAULTS)) {
      const id = `${source}-${fault}`
      const script = () => (isMended ? {} : scriptOf(given))
      const proxy = await opened(startProxy({ port: Number(port) }, script), it => it.close())
      const { tenant_id, storage_path } = await name(service, id, `http://127.0.0.1:${proxy.port}`)
      await service.account(sink, { id, tenant_id })
      proxies.set(id, proxy)
      reasons.set(id, given.reason)
      messages.push({ id, tenant_id, account_id: id, attachments: [{ filename: 'large.bin', storage_path }] })
    }
  }
  const ports = [...proxies.values()].map(({ port }) => port)
  const before = spooled()
  expect((await service.send(...(messages as Record<string, unknown>[]))).queued).toBe(messages.length)

  const firstError = async (id: string) => {
    const { attempt_log } = await service.message(id, id.startsWith('endpoint') ? id : 'default')
    return attempt_log?.[0]?.error as string | undefined
  }
  for (const [id, reason] of reasons) {
    const said = await service.until(`the fault of ${id}`, () => firstError(id))
    expect([id, said]).toEqual([id, expect.stringMatching(reason)])
  }
  expect(sink.connections).toBe(0)

  isMended = true
  await service.until('all to be sent', () => sink.accepted === messages.length, 30_000)
  expect(sink.messages.every(({ raw }) => raw.length > CONTENT.length)).toBe(true)
  // Of each source one connection that is kept, at most.
  await service.until('the others to be closed', () => established(ports) <= proxies.size)
  expect(spooled()).toBe(before)
  expect(warnings).not.toContain('MaxListenersExceededWarning')
})
