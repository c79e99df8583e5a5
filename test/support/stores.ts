/** Stores to test the clients against: servers that other people wrote where there are any, on free ports of 127.0.0.1. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import S3rver from 's3rver'
import { v2 as webdav } from 'webdav-server'
import { freePort } from './free-port.js'

export interface RunningStore {
  readonly url: string
  close(): Promise<void>
}

/** s3rver with the bucket `files`; key and secret are both `S3RVER`. */
export async function startS3(): Promise<RunningStore> {
  const directory = await mkdtemp(join(tmpdir(), 'gmp-s3-'))
  const server = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory,
    configureBuckets: [{ name: 'files', configs: [] }],
  })
  const { port } = await server.run()
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      await server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** webdav-server in memory, for the user `ada` with the password `pä-ss`. */
export async function startWebdav(auth: 'basic' | 'digest'): Promise<RunningStore> {
  const users = new webdav.SimpleUserManager()
  const user = users.addUser('ada', 'pä-ss', false)
  const privileges = new webdav.SimplePathPrivilegeManager()
  privileges.setRights(user, '/', ['all'])
  const server = new webdav.WebDAVServer({
    httpAuthentication:
      auth === 'basic'
        ? new webdav.HTTPBasicAuthentication(users, 'files')
        : new webdav.HTTPDigestAuthentication(users, 'files'),
    privilegeManager: privileges,
    requireAuthentification: true,
  })
  const http = createServer((request, response) => server.executeRequest(request, response))
  await new Promise<void>(done => http.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    close() {
      http.closeAllConnections()
      return new Promise(done => http.close(() => done()))
    },
  }
}

/** The few calls of Google's JSON API that the client makes; no stand-in of other people is at hand. */
export async function startGcs(): Promise<RunningStore & { readonly authorizations: (string | undefined)[] }> {
  const objects = new Map<string, { content: Buffer; type: string }>()
  const authorizations: (string | undefined)[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer)
    } catch {
      return
    }
    authorizations.push(request.headers.authorization)
    const url = new URL(request.url!, 'http://gcs')
    const name = decodeURIComponent(/^\/storage\/v1\/b\/files\/o\/([^/]+)$/.exec(url.pathname)?.[1] ?? '')
    if (request.method === 'POST' && url.pathname === '/upload/storage/v1/b/files/o') {
      const boundary = /boundary=(\w+)/.exec(request.headers['content-type']!)![1]!
      const all = Buffer.concat(chunks).toString('latin1').split(`--${boundary}`)
      const [metadata, content] = all.slice(1, 3).map(part => part.slice(part.indexOf('\r\n\r\n') + 4, -2))
      const { name: stored, contentType } = JSON.parse(Buffer.from(metadata!, 'latin1').toString('utf8'))
      objects.set(stored, { content: Buffer.from(content!, 'latin1'), type: contentType })
      return void response.setHeader('content-type', 'application/json').end('{}')
    }
    const object = objects.get(name)
    if (object === undefined) return void response.writeHead(404).end('No such object')
    if (request.method === 'DELETE') objects.delete(name)
    if (request.method === 'DELETE') return void response.writeHead(204).end()
    response
      .writeHead(200, { 'content-type': object.type, 'content-length': object.content.length })
      .end(object.content)
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    authorizations,
    close() {
      server.closeAllConnections()
      return new Promise(done => server.close(() => done()))
    },
  }
}

// Of its account everybody knows the key; it is written in Azurite's manual.
export const AZURITE = {
  account: 'devstoreaccount1',
  key: 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
}

/** Azurite through npx, or why there is none: it weighs 360 MB, too much for a dependency of the tests. */
export async function startAzurite(): Promise<RunningStore | string> {
  const port = await freePort()
  const arguments_ = ['-y', '--package', 'azurite@3.35.0', 'azurite-blob', '--blobPort', String(port)]
  const child = spawn('npx', [...arguments_, '--inMemoryPersistence', '--silent', '--skipApiVersionCheck'], {
    // A group of its own, so that what npx starts ends with it.
    detached: true,
    stdio: 'ignore',
    cwd: tmpdir(),
  })
  const ended = new Promise<string>(done => {
    child.once('exit', code => done(`npx azurite ended with ${code}`))
    child.once('error', error => done(`npx cannot be run: ${error.message}`))
  })
  const close = async () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {}
    await ended
  }
  const deadline = Date.now() + 100_000
  while (Date.now() < deadline) {
    const state = await Promise.race([ended, answers(port)])
    if (state === true) return { url: `http://127.0.0.1:${port}`, close }
    if (typeof state === 'string') return state
    await new Promise(done => setTimeout(done, 250))
  }
  await close()
  return 'npx azurite did not listen within 100 s'
}

function answers(port: number): Promise<boolean> {
  return new Promise(done => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => done(true)).once('error', () => done(false))
    socket.once('connect', () => socket.destroy())
  })
}
