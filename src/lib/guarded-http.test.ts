import http from 'node:http'
import https from 'node:https'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { selfSigned } from '../../test/support/certificate.js'
import { guardedAgents, guardedConnector } from './guarded-http.js'
import { createNetworkGuard, type HostAddress, type NetworkGuard } from './network-guard.js'

let server: http.Server
let connections: number

beforeEach(async () => {
  connections = 0
  server = http.createServer((_request, response) => void response.end('hello'))
  server.on('connection', () => {
    connections += 1
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
})

afterEach(() => {
  server.closeAllConnections()
  return new Promise(done => server.close(done))
})

const port = () => (server.address() as AddressInfo).port

function get(options: https.RequestOptions, over: typeof http | typeof https = http): Promise<string> {
  return new Promise((resolve, reject) => {
    over
      .get(options, response => {
        response.resume().on('end', () => resolve(String(response.statusCode)))
      })
      .on('error', reject)
  })
}

function guardOf(addresses: string[], allowed: string[] = []) {
  const found = addresses.map((address): HostAddress => ({ address, family: address.includes(':') ? 6 : 4 }))
  return createNetworkGuard({ allowPrivate: false, allowed }, async () => found)
}

describe('guarded agents', () => {
  test.each(['127.0.0.1', '2130706433', '0x7f000001', '0x7f.1', '::ffff:127.0.0.1', '[::ffff:7f00:1]'])(
    'the literal %s is judged before anything is connected',
    async host => {
      const guard = createNetworkGuard({ allowPrivate: false, allowed: [] })
      const agents = guardedAgents(guard, 1_000)
      await expect(get({ host, port: port(), agent: agents.http })).rejects.toThrow(/is not allowed/)
      await expect(get({ host, port: port(), agent: agents.https }, https)).rejects.toThrow(/is not allowed/)
      expect(connections).toBe(0)
    },
  )

  test('the next address is tried when one does not answer', async () => {
    // 127.0.0.3 has nobody at this port.
    const agents = guardedAgents(guardOf(['127.0.0.3', '127.0.0.1'], ['127.0.0.0/8']), 1_000)
    expect(await get({ host: 'files.example', port: port(), agent: agents.http })).toBe('200')
    agents.http.destroy()
  })

  test('of several addresses only those that passed are tried', async () => {
    const agents = guardedAgents(guardOf(['127.0.0.1', '127.0.0.3'], ['127.0.0.3']), 1_000)
    await expect(get({ host: 'files.example', port: port(), agent: agents.http })).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    })
    expect(connections).toBe(0)
  })

  test('a kept connection is used again', async () => {
    const agents = guardedAgents(guardOf(['127.0.0.1'], ['127.0.0.1']), 1_000)
    await get({ host: 'files.example', port: port(), agent: agents.http })
    await get({ host: 'files.example', port: port(), agent: agents.http })
    expect(connections).toBe(1)
    agents.http.destroy()
  })

  test('a certificate is verified against the name, not the address', async () => {
    const right = selfSigned(['files.example'])
    const wrong = selfSigned(['other.example'])
    for (const [{ key, cert }, fits] of [
      [right, true],
      [wrong, false],
    ] as const) {
      const secure = https.createServer({ key, cert }, (_request, response) => void response.end())
      await new Promise<void>(done => secure.listen(0, '127.0.0.1', done))
      const agent = guardedAgents(guardOf(['127.0.0.1'], ['127.0.0.1']), 1_000).https
      const options = { host: 'files.example', port: (secure.address() as AddressInfo).port, agent, ca: cert }
      const answer = get(options, https)
      if (fits) expect(await answer).toBe('200')
      else await expect(answer).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
      // A caller cannot ask for less.
      const lax = get({ ...options, ca: undefined, rejectUnauthorized: false }, https)
      await expect(lax).rejects.toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
      agent.destroy()
      secure.closeAllConnections()
      await new Promise(done => secure.close(done))
    }
  })
})

describe('an address that never answers TLS', () => {
  let opened: Socket[]
  let silent: Server

  beforeEach(async () => {
    opened = []
    silent = createServer(socket => void opened.push(socket.resume().on('error', () => {})))
    await new Promise<void>(done => silent.listen(0, '127.0.0.2', done))
  })
  afterEach(() => {
    for (const socket of opened) socket.destroy()
    return new Promise(done => silent.close(done))
  })

  const silentPort = () => (silent.address() as AddressInfo).port
  const stillOpen = () => opened.filter(socket => !socket.closed).length

  test.each<[string, (guard: NetworkGuard) => Promise<unknown>]>([
    [
      'undici',
      guard =>
        promisify(guardedConnector(guard, 400))({
          protocol: 'https:',
          hostname: 'files.example',
          port: String(silentPort()),
        }),
    ],
    [
      "node's agent",
      guard => get({ host: 'files.example', port: silentPort(), agent: guardedAgents(guard, 400).https }, https),
    ],
  ])('has more than its part of a short time, and is left when that is over (%s)', async (_client, connect) => {
    const guard = guardOf(new Array(8).fill('127.0.0.2'), ['127.0.0.2'])
    await expect(connect(guard)).rejects.toMatchObject({ code: 'UND_ERR_CONNECT_TIMEOUT' })
    expect(opened).toHaveLength(1)
    await expect.poll(stillOpen).toBe(0)
  })

  test('is left for the next one', async () => {
    const { key, cert } = selfSigned(['files.example'])
    const secure = https.createServer({ key, cert }, (_request, response) => void response.end())
    await new Promise<void>(done => secure.listen(silentPort(), '127.0.0.1', done))
    const agent = guardedAgents(guardOf(['127.0.0.2', '127.0.0.1'], ['127.0.0.0/8']), 4_000).https
    expect(await get({ host: 'files.example', port: silentPort(), agent, ca: cert }, https)).toBe('200')
    expect(opened).toHaveLength(1)
    await expect.poll(stillOpen).toBe(0)
    agent.destroy()
    secure.closeAllConnections()
    await new Promise(done => secure.close(done))
  })
})
