/** /files over stores that fail: what a recipient who follows a link is told. Stores that work: large-files.test.ts. */
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AttachmentFailure } from '../../src/attachments/failure.js'
import type { LinkedFile } from '../../src/http/deps.js'
import { fileRoutes } from '../../src/http/routes/files.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'

const working: LinkedFile = {
  pathName: 'f.bin',
  filename: 'f.bin',
  mimeType: 'text/plain',
  sizeBytes: 5,
  redirect: async () => null,
  open: async () => ({ sizeBytes: 5, body: Readable.from([Buffer.from('hello')], { objectMode: false }) }),
}
let http: HttpApp
let file: LinkedFile | null
let asked: { signature: string; redirects: number[] }

beforeAll(async () => {
  const files = {
    isSigned: (_: unknown, signature: string) => signature === 'right',
    async find() {
      asked.signature = 'found'
      return file
    },
  }
  http = await openHttpApp('sqlite', { routes: [(app, deps) => fileRoutes(app, { ...deps, files })] })
})
afterAll(() => http.close())
beforeEach(() => {
  file = working
  asked = { signature: '', redirects: [] }
})

const expires = () => Math.floor(http.clock.now() / 1000) + 3_600
const get = (query = `expires=${expires()}&signature=right`, method = 'GET') =>
  http.call(method, `/files/abc/f.bin?${query}`, { token: null })
const failing = (kind: 'permanent' | 'transient'): LinkedFile['open'] => {
  return () => Promise.reject(new AttachmentFailure('the store of s3://secret failed', kind))
}

describe('GET /files/{id}/{filename}', () => {
  it('needs no token and says how the file is to be saved', async () => {
    const { status, body, headers } = await get()
    expect([status, body]).toEqual([200, 'hello'])
    expect(headers).toMatchObject({
      'content-type': 'text/plain',
      'content-length': '5',
      'content-disposition': expect.stringMatching(/^attachment; filename="f.bin"/),
      'x-content-type-options': 'nosniff',
    })
  })

  it('a store that does not answer is a 503 that may be repeated, one without the file a 404, neither with its reason', async () => {
    for (const [kind, status, code] of [
      ['transient', 503, 'file_unavailable'],
      ['permanent', 404, 'not_found'],
    ] as const) {
      file = { ...working, open: failing(kind) }
      const answer = await get()
      expect([answer.status, answer.body.code, answer.body.error]).toEqual([
        status,
        code,
        expect.not.stringContaining('s3'),
      ])
      expect(answer.headers['content-disposition']).toBeUndefined()
      expect(answer.headers['retry-after']).toBe(status === 503 ? '60' : undefined)
    }
  })

  const sized = (content: string, sizeBytes: number | null): LinkedFile => ({
    ...working,
    open: async () => ({
      sizeBytes,
      body: Readable.from([Buffer.from(content)], { objectMode: false }),
    }),
  })

  it.each([
    ['hell', 4],
    ['hello world', 11],
    ['hello world', null],
    ['', null],
  ])('a file that is not as long as it was is a 503: "%s" announced as %s', async (content, announced) => {
    file = sized(content, announced)
    const { status, body, headers } = await get()
    expect([status, body.code]).toEqual([503, 'file_unavailable'])
    expect(headers['content-disposition']).toBeUndefined()
  })

  it('an empty file is an empty file', async () => {
    file = { ...sized('', null), sizeBytes: 0 }
    expect(await get()).toMatchObject({ status: 200, body: '' })
  })

  it('one of unknown length that turns out to have another ends the connection', async () => {
    const origin = new URL(await http.app.listen({ host: '127.0.0.1', port: 0 }))
    const path = `/files/abc/f.bin?expires=${expires()}&signature=right`
    for (const [pieces, got] of [
      [['hell'], 'hell'],
      [['hello', ' world'], 'hello'],
    ] as const) {
      const slowly = async function* () {
        for (const piece of pieces) {
          yield Buffer.from(piece)
          await new Promise(done => setTimeout(done, 50))
        }
      }
      file = {
        ...working,
        open: async () => ({ sizeBytes: null, body: Readable.from(slowly(), { objectMode: false }) }),
      }
      const socket = connect(Number(origin.port), origin.hostname)
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
      const answer = await text(socket).catch(error => error)
      expect(answer.split('\r\n\r\n')[1]).toBe(got)
    }
  })

  it('asks the database for nothing whose signature or time does not fit', async () => {
    expect((await get(`expires=${expires()}&signature=wrong`)).body.code).toBe('forbidden')
    expect((await get('signature=right')).body.code).toBe('forbidden')
    expect((await get(`expires=${Math.floor(http.clock.now() / 1000)}&signature=right`)).body.code).toBe('gone')
    expect(asked.signature).toBe('')
  })

  it('a link of the store lives ten minutes, and no longer than ours', async () => {
    const redirect = async (until: number) => {
      asked.redirects.push(until - http.clock.now())
      return 'https://s.test/x'
    }
    file = { ...working, redirect }
    expect(await get()).toMatchObject({ status: 302, headers: { location: 'https://s.test/x' } })
    await get(`expires=${Math.floor(http.clock.now() / 1000) + 60}&signature=right`, 'HEAD')
    expect(asked.redirects).toEqual([600_000, 60_000])
  })
})
