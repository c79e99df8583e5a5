/** examples/client as a person runs it: a process of its own beside a running service. */
import { execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../support/free-port.js'
import { tempDir } from '../support/process.js'
import { opened, openScene, type Scene } from '../support/scene.js'
import { ADMIN_TOKEN } from '../support/service.js'

const MAIN = 'build/examples/client/main.js'

describe('the example application', () => {
  beforeAll(() => {
    execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'examples/client'])
  })

  it('sends what was asked for and knows from reports that it was sent', async () => {
    const scene = await openScene()
    const app = await startExample(scene)
    const { status, body } = await app.call('POST', '/send-test-email?count=5&subject=Hello%20there')
    expect([status, body.ids.length]).toEqual([202, 5])
    await scene.sink.waitFor(5)
    expect(scene.sink.messages.map(({ raw }) => /^Subject: (.*)\r$/m.exec(raw.toString())![1])).toEqual(
      Array(5).fill('Hello there'),
    )
    await scene.service.until('the reports', async () => (await app.call('GET', '/stats')).body.sent === 5)
    expect((await app.call('GET', '/stats')).body).toEqual({
      ok: true,
      waiting: 0,
      submitted: 0,
      deferred: 0,
      sent: 5,
      error: 0,
    })
    const { messages } = (await app.call('GET', '/messages')).body
    expect(messages.map((each: any) => each.id)).toEqual([...body.ids].reverse())
    expect(messages[0]).toMatchObject({ order_id: 5, state: 'sent', sent_ts: expect.any(Number) })
  })

  it('tells what a server refused, with its words', async () => {
    const scene = await openScene({ sink: { behave: { rcpt: () => '550 5.1.1 No such user' } } })
    const app = await startExample(scene)
    await app.call('POST', '/send-test-email')
    await scene.service.until('the report', async () => (await app.call('GET', '/stats')).body.error === 1)
    expect((await app.call('GET', '/messages')).body.messages[0]).toMatchObject({
      state: 'error',
      error: '550 5.1.1 No such user',
    })
  })

  it('loses nothing when it is killed, whatever was going on', async () => {
    const scene = await openScene()
    const app = await startExample(scene)
    await scene.service.call('POST', '/commands/suspend?tenant_id=example')
    await app.call('POST', '/send-test-email?count=20')
    app.kill('SIGKILL')
    await app.exited
    // Its reports find nobody.
    await scene.service.call('POST', '/commands/activate?tenant_id=example')
    await scene.sink.waitFor(20)
    const again = await startExample(scene, { dir: app.dir, port: app.port })
    await scene.service.call('POST', '/commands/run-now?tenant_id=example')
    await scene.service.until('every report', async () => (await again.call('GET', '/stats')).body.sent === 20)
    expect(scene.sink.messages).toHaveLength(20)
  })

  it('takes orders while the proxy is away, and submits them when it is back', async () => {
    const scene = await openScene({ env: { GMP_PORT: String(await freePort()) } })
    const app = await startExample(scene)
    await scene.service.stop()
    expect((await app.call('POST', '/send-test-email?count=3')).status).toBe(202)
    expect((await app.call('GET', '/stats')).body).toMatchObject({ waiting: 3 })
    expect(app.output()).toContain('Not submitted, will be tried again: POST /commands/add-messages')
    // Killed with mails that nobody has but its own database.
    app.kill('SIGKILL')
    await app.exited
    await scene.restart()
    const again = await startExample(scene, { dir: app.dir, port: app.port })
    await scene.service.until('every report', async () => (await again.call('GET', '/stats')).body.sent === 3)
    expect(scene.sink.messages).toHaveLength(3)
  })

  it('works with the key of a tenant, and stops on a signal', async () => {
    const scene = await openScene({ env: { GMP_ALLOWED_NETWORKS: '127.0.0.0/8' } })
    const { body } = await scene.service.call('POST', '/tenant', { id: 'shop' })
    await scene.service.account(scene.sink, { tenant_id: 'shop' })
    const app = await startExample(scene, { args: ['--key', body.api_key, '--tenant', 'shop'] })
    await app.call('POST', '/send-test-email')
    await scene.service.until('the report', async () => (await app.call('GET', '/stats')).body.sent === 1)
    app.kill('SIGTERM')
    expect(await app.exited).toBe(0)
  })

  it('leaves the tenant of another application alone, its reports and its key', async () => {
    const scene = await openScene()
    const theirs = 'http://127.0.0.1:9'
    const { body } = await scene.service.call('POST', '/tenant', { id: 'shop', client_base_url: theirs })
    const { dir } = await opened(tempDir(), each => each.remove())
    const app = spawnExample([
      ...['--url', scene.service.url, '--db', join(dir, 'example.db'), '--to', 'ada@example.net'],
      ...['--token', ADMIN_TOKEN, '--tenant', 'shop'],
    ])
    expect(await app.exited).toBe(1)
    expect(app.output()).toContain(`The tenant shop is there and reports to ${theirs}`)
    const kept = await scene.service.call('GET', '/tenant/shop', undefined, body.api_key)
    expect(kept).toMatchObject({ status: 200, body: { client_base_url: theirs } })
    expect(kept.body.client_auth).toBeUndefined()
  })

  it('takes no report from anybody else', async () => {
    const scene = await openScene()
    const app = await startExample(scene)
    await scene.service.call('POST', '/commands/suspend?tenant_id=example')
    const { ids } = (await app.call('POST', '/send-test-email')).body
    const forged = { delivery_report: [{ id: ids[0], sent_ts: 1 }] }
    expect((await app.call('POST', '/mail-proxy/sync', forged)).status).toBe(401)
    expect((await app.call('GET', '/stats')).body).toMatchObject({ submitted: 1, sent: 0 })
    expect((await app.call('POST', '/send-test-email?count=none')).status).toBe(400)
    expect((await app.call('GET', '/send-test-email')).status).toBe(404)
  })

  it.each([
    ['without --to', ['--token', 'x'], 2, '--to'],
    ['without a token', ['--to', 'a@example.net'], 2, 'Set MAIL_PROXY_TOKEN or MAIL_PROXY_KEY'],
    [
      'with a url that is none',
      ['--to', 'a@example.net', '--token', 'x', '--url', 'localhost'],
      2,
      'url must be an http://',
    ],
    ['with an unknown flag', ['--colour'], 2, 'Usage: npm run example'],
    [
      'where no proxy is',
      ['--to', 'a@example.net', '--token', 'x', '--url', 'http://127.0.0.1:9'],
      1,
      'Is the mail proxy running',
    ],
  ])('says what is wrong %s', async (_, args, code, words) => {
    const { dir } = await opened(tempDir(), each => each.remove())
    const app = spawnExample(['--db', join(dir, 'example.db'), ...args])
    expect(await app.exited).toBe(code)
    expect(app.output()).toContain(words)
  })
})

interface StartOptions {
  readonly dir?: string
  readonly port?: number
  readonly args?: readonly string[]
}

async function startExample({ service, sink }: Scene, options: StartOptions = {}) {
  const dir = options.dir ?? (await opened(tempDir(), each => each.remove())).dir
  const port = options.port ?? (await freePort())
  const args = options.args ?? ['--token', ADMIN_TOKEN, '--smtp', `${sink.host}:${sink.port}`]
  const app = spawnExample([
    '--url',
    service.url,
    '--port',
    String(port),
    '--db',
    join(dir, 'example.db'),
    '--to',
    'ada@example.net',
    ...args,
  ])
  onTestFinished(async () => {
    app.kill('SIGKILL')
    await app.exited
  })
  await service.until('it listens', () => {
    if (app.ended()) throw new Error(`it ended:\n${app.output()}`)
    return app.output().includes('listens on')
  })
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as any }
  }
  return { ...app, dir, port, call }
}

function spawnExample(args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (output += String(chunk)))
  const exited = new Promise<number | null>(done => child.once('close', code => done(code)))
  return {
    output: () => output,
    ended: () => child.exitCode !== null,
    kill: (signal: NodeJS.Signals) => void child.kill(signal),
    exited,
  }
}
