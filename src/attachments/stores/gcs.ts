/**
 * Objects of a Google Cloud Storage bucket. Google's client gives the credentials and signs the links; the octets go over
 * undici by the JSON API. Its own requests cannot be given an agent, end no transfer that is given up, and destroy the
 * agent that they share. A service account's key signs each request itself (a self-signed JWT), so no token is fetched.
 * Run against a small server of our own in the tests, never against Google itself.
 */
import { createPrivateKey, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { Storage } from '@google-cloud/storage'
import { type Dispatcher, request } from 'undici'
import { withoutEnd } from '../../lib/without-end.js'
import { AttachmentFailure } from '../failure.js'
import { fileOf, openDispatcher } from '../http-get.js'
import { answered } from './failure-of.js'
import { keyOf, savedAs } from './path.js'
import type { Settings } from './settings.js'
import { MAX_LINK_MS, type NewFile, type Store, type StoreAccess } from './store.js'
import { call, discard, receive, send } from './transfer.js'

const GOOGLE = 'https://storage.googleapis.com'
const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_write'

export function openGcs(settings: Settings, access: StoreAccess): Store {
  const bucket = settings.required('bucket')
  const prefix = settings.text('prefix')
  const endpoint = withoutEnd(settings.text('endpoint') ?? GOOGLE, '/')
  const identity = identityOf(settings, access)
  const dispatcher = openDispatcher(access.guard, access.timeoutMs)
  // In this API the name of an object is one segment of the path, slashes and all.
  const url = (path: string) =>
    `${endpoint}/storage/v1/b/${encodeURIComponent(bucket)}/o/${encodeURIComponent(keyOf(prefix, path))}`
  const ask = async (target: string, signal: AbortSignal, more: Partial<Dispatcher.RequestOptions> = {}) => {
    const { headers, ...rest } = more
    const all = { ...(await identity?.headers()), ...(headers as Record<string, string> | undefined) }
    return request(target, { method: 'GET', dispatcher, signal, headers: all, ...rest })
  }

  return {
    get: (path, signal) =>
      receive(access, signal, async watched => {
        // Then Google decodes what lies there compressed.
        const headers = { 'accept-encoding': 'identity' }
        return fileOf(await ask(`${url(path)}?alt=media`, watched, { headers }))
      }),
    put: (file, signal) =>
      send(access, signal, file, async (body, watched) => {
        const key = keyOf(prefix, file.path)
        const target = `${endpoint}/upload/storage/v1/b/${encodeURIComponent(bucket)}/o?uploadType=multipart`
        await settled(await ask(target, watched, { method: 'POST', ...multipart(key, file, body()) }))
      }),
    remove: (path, signal) =>
      call(access, signal, async watched => {
        await settled(await ask(url(path), watched, { method: 'DELETE' }), 404)
      }),
    link: (path, filename, expiresAt) =>
      call(access, new AbortController().signal, async () => {
        const expires = Math.min(expiresAt, Date.now() + MAX_LINK_MS)
        if (identity === null || expires <= Date.now()) return null
        const file = identity.storage.bucket(bucket).file(keyOf(prefix, path))
        const disposition = savedAs(filename)
        const [signed] = await file.getSignedUrl({
          version: 'v4',
          action: 'read',
          expires,
          responseDisposition: disposition,
        })
        return signed
      }),
    close: () => void dispatcher.destroy(),
  }
}

interface Identity {
  readonly storage: Storage
  /** Those that authorize a request. */
  headers(): Promise<Record<string, string>>
}

/** null: requests go without credentials, to a public bucket or an emulator. */
function identityOf(settings: Settings, { ambient }: StoreAccess): Identity | null {
  const projectId = settings.text('project_id')
  const credentials = settings.object('credentials')
  if (credentials === undefined) {
    if (!ambient || settings.text('endpoint') !== undefined) return null
    const storage = new Storage({ projectId })
    return { storage, headers: async () => ({ ...(await storage.authClient.getRequestHeaders()) }) }
  }
  const { client_email, private_key } = credentials as { client_email: string; private_key: string }
  if (!isRsaKey(private_key)) {
    const reason = 'the config of its volume is wrong: credentials.private_key is no RSA key in PEM'
    throw new AttachmentFailure(reason, 'permanent')
  }
  const storage = new Storage({ projectId: projectId ?? 'unused', credentials: { client_email, private_key } })
  const client = storage.authClient.fromJSON({ type: 'service_account', client_email, private_key })
  Object.assign(client, { useJWTAccessWithScope: true, scopes: [SCOPE] })
  return { storage, headers: async () => ({ ...(await client.getRequestHeaders()) }) }
}

/** Google's client sees it only when it signs, as a failure of its own that says nothing of the config. */
function isRsaKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}

/** Metadata and octets in one request, which Google takes whole or not at all. */
function multipart(name: string, file: NewFile, body: Readable) {
  const boundary = randomBytes(16).toString('hex')
  const metadata = JSON.stringify({ name, contentType: file.mimeType, contentDisposition: savedAs(file.filename) })
  const head = Buffer.from(
    `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${metadata}\r\n` +
      `--${boundary}\r\nContent-Type: application/octet-stream\r\n\r\n`,
  )
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
  async function* parts() {
    yield head
    yield* body
    yield tail
  }
  return {
    headers: {
      'content-type': `multipart/related; boundary=${boundary}`,
      'content-length': String(head.length + file.sizeBytes + tail.length),
    },
    body: Readable.from(parts(), { objectMode: false }),
  }
}

async function settled({ statusCode, body }: Dispatcher.ResponseData, alsoFine?: number): Promise<void> {
  if (statusCode >= 300 && statusCode !== alsoFine) {
    discard(body)
    throw answered(statusCode)
  }
  await body.dump({ limit: 1_000_000 })
}
