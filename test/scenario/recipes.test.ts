/** The recipes as a person runs them: each a process of its own beside a running service. */
import { spawn, spawnSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../support/free-port.js'
import { tempDir } from '../support/process.js'
import { opened, openScene, type Scene } from '../support/scene.js'
import type { SinkOptions } from '../support/smtp-sink.js'

/** Debian's own: another Python on the path has not its packages. */
const PYTHON = '/usr/bin/python3'
const has = (module: string) => spawnSync(PYTHON, ['-c', `import ${module}`]).status === 0

const RECIPES: readonly (readonly [name: string, command: readonly string[], missing: string | null])[] = [
  ['express', [process.execPath, 'examples/recipes/express/app.mjs'], null],
  ['fastify', [process.execPath, 'examples/recipes/fastify/app.mjs'], null],
  ['flask', [PYTHON, 'examples/recipes/flask/app.py'], has('flask') ? null : 'python3-flask'],
  ['django', [PYTHON, 'examples/recipes/django/app.py'], has('django') ? null : 'python3-django'],
]

const REPORT_TOKEN = 'token-of-the-reports'

for (const [name, command, missing] of RECIPES) {
  if (missing !== null) console.log(`SKIPPED: the recipe for ${name} is not tested, ${missing} is not installed`)

  describe.skipIf(missing !== null)(`the recipe for ${name}`, () => {
    it('submits in a request, and knows from reports what became of the mail', async () => {
      const { app, scene } = await start({
        behave: { rcpt: ({ address }) => (address.startsWith('nobody') ? '550 5.1.1 No such user' : null) },
      })
      const placed = await app.call('POST', '/orders', { email: 'ada@example.net' })
      expect(placed).toMatchObject({ status: 201, body: { id: 1, error: null } })
      expect(['submitted', 'sent']).toContain(placed.body.mail)
      await app.call('POST', '/orders', { email: 'nobody@example.net' })
      await scene.service.until('both reports', async () => {
        const [one, two] = [await app.call('GET', '/orders/1'), await app.call('GET', '/orders/2')]
        return one.body.mail === 'sent' && two.body.mail === 'error'
      })
      expect((await app.call('GET', '/orders/2')).body).toEqual({
        id: 2,
        mail: 'error',
        error: '550 5.1.1 No such user',
      })
      expect(scene.sink.messages).toHaveLength(1)
      expect(scene.sink.messages[0]).toMatchObject({ from: 'shop@example.org', to: ['ada@example.net'] })
      expect((await app.call('GET', '/orders/3')).status).toBe(404)
    })

    it('keeps an order while the proxy is away, and a kill does not lose its mail', async () => {
      const { app, scene, again } = await start({}, { GMP_PORT: String(await freePort()) })
      await scene.service.stop()
      const placed = await app.call('POST', '/orders', { email: 'ada@example.net' })
      expect(placed).toMatchObject({ status: 201, body: { id: 1, mail: 'waiting' } })
      app.kill()
      await app.exited
      await scene.restart()
      const next = await again()
      await scene.service.until('the report', async () => (await next.call('GET', '/orders/1')).body.mail === 'sent')
      expect(scene.sink.messages).toHaveLength(1)
    })

    it('does not take the mail of an order of a database made anew for one that was sent', async () => {
      const { app, scene, again, dir } = await start({})
      await app.call('POST', '/orders', { email: 'ada@example.net' })
      await scene.service.until('the first mail', () => scene.sink.messages.length === 1)
      app.kill()
      await app.exited
      await rm(join(dir, 'orders.db'))
      const next = await again()
      expect((await next.call('POST', '/orders', { email: 'bob@example.net' })).body).toMatchObject({ id: 1 })
      await scene.service.until('the second mail', () => scene.sink.messages.length === 2)
      expect(scene.sink.messages[1]).toMatchObject({ to: ['bob@example.net'] })
    })

    it('keeps the mail of a tenant that is switched off until it is on again', async () => {
      const { app, scene, again } = await start({})
      await scene.service.call('PUT', '/tenant/shop', { active: false })
      const placed = await app.call('POST', '/orders', { email: 'ada@example.net' })
      expect(placed).toMatchObject({ status: 201, body: { id: 1, mail: 'waiting' } })
      await scene.service.call('PUT', '/tenant/shop', { active: true })
      app.kill()
      await app.exited
      const next = await again()
      await scene.service.until('the report', async () => (await next.call('GET', '/orders/1')).body.mail === 'sent')
    })

    it('takes neither a forged report nor a list of addresses', async () => {
      const { app, scene } = await start({})
      await scene.service.call('POST', '/commands/suspend?tenant_id=shop')
      await app.call('POST', '/orders', { email: 'ada@example.net' })
      const [{ id }] = (await scene.service.call('GET', '/messages?tenant_id=shop')).body.messages
      const forged = { delivery_report: [{ id, sent_ts: 1 }] }
      for (const token of ['', 'another', `${REPORT_TOKEN}x`]) {
        expect((await app.call('POST', '/mail-proxy/sync', forged, token)).status).toBe(401)
      }
      expect((await app.call('GET', '/orders/1')).body.mail).toBe('submitted')
      const unknown = {
        delivery_report: [
          { id: 'of another', sent_ts: 1 },
          { id, in_doubt_ts: 1 },
        ],
      }
      expect(await app.call('POST', '/mail-proxy/sync', unknown, REPORT_TOKEN)).toMatchObject({
        status: 200,
        body: { ok: true },
      })
      expect((await app.call('POST', '/orders', { email: 'a@example.net, b@example.net' })).status).toBe(400)
    })
  })

  async function start(sink: SinkOptions, env: Record<string, string> = {}) {
    const scene = await openScene({ sink, env })
    const { dir } = await opened(tempDir(), each => each.remove())
    const port = await freePort()
    const key = await shopOf(scene, port)
    const again = () => startRecipe(command, scene, { dir, port, key })
    return { scene, again, dir, app: await again() }
  }
}

/** What the admin does once: a tenant whose reports go to the application, and its account. */
async function shopOf({ service, sink }: Scene, port: number): Promise<string> {
  const { body } = await service.call('POST', '/tenant', {
    id: 'shop',
    client_base_url: `http://127.0.0.1:${port}`,
    client_auth: { method: 'bearer', token: REPORT_TOKEN },
  })
  await service.account(sink, { tenant_id: 'shop' })
  return body.api_key
}

async function startRecipe(
  [program, ...args]: readonly string[],
  { service }: Scene,
  { dir, port, key }: { dir: string; port: number; key: string },
) {
  const child = spawn(program!, args, {
    env: {
      PATH: process.env.PATH,
      PYTHONUNBUFFERED: '1',
      PYTHONDONTWRITEBYTECODE: '1',
      MAIL_PROXY_URL: service.url,
      MAIL_PROXY_KEY: key,
      REPORT_TOKEN,
      DATABASE: join(dir, 'orders.db'),
      PORT: String(port),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (output += String(chunk)))
  const exited = new Promise(done => child.once('close', done))
  const kill = () => void child.kill('SIGKILL')
  onTestFinished(async () => {
    kill()
    await exited
  })
  const call = async (method: string, path: string, body?: unknown, token?: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as any }
  }
  await service.until('the recipe answers', async () => {
    if (child.exitCode !== null) throw new Error(`it ended:\n${output}`)
    return (await fetch(`http://127.0.0.1:${port}/orders/0`)).status === 404
  })
  return { call, kill, exited }
}
