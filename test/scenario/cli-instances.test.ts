/** The life of instances in the background, as processes: side by side, stopped, restarted, listed, deleted. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { runCommandHere } from '../support/command.js'
import { freePort } from '../support/free-port.js'
import { tempDir } from '../support/process.js'

vi.setConfig({ testTimeout: 120_000 })

let dir: string
let remove: () => Promise<void>
beforeEach(async () => {
  ;({ dir, remove } = await tempDir())
})
afterEach(async () => {
  const { instances } = JSON.parse((await mailProxy('list', '--json')).out) as { instances: { name: string }[] }
  for (const { name } of instances) await mailProxy('stop', name, '--force')
  await remove()
})

/** The default port, as a person has it. */
const mailProxy = (...args: string[]) => runCommandHere({ dir, args, env: { GMP_PORT: '' } })
const folder = (name: string) => join(dir, 'instances', name)
const iniOf = (name: string) => readFileSync(join(folder(name), 'config.ini'), 'utf8')

interface Started {
  url: string
  pid: number
}

/** On a port that no other test takes while the instance is stopped, unless it is to find one by itself. */
async function start(name: string, port: number | null = null): Promise<Started> {
  return startWith(name, '--port', String(port ?? (await freePort())))
}

async function startWith(name: string, ...more: string[]): Promise<Started> {
  const { code, out, err } = await mailProxy('start', name, '--background', '--json', ...more)
  expect([code, err]).toEqual([0, ''])
  return JSON.parse(out) as Started
}

async function listed(): Promise<Record<string, unknown>> {
  const { instances } = JSON.parse((await mailProxy('list', '--json')).out)
  return Object.fromEntries(instances.map((each: { name: string; state: string }) => [each.name, each.state]))
}

const isHealthy = async (url: string) => (await fetch(`${url}/health`).catch(() => null))?.ok === true

it('two that nobody gave a port run side by side on ports of their own, and note them', async () => {
  const one = await startWith('one')
  const two = await startWith('two')
  expect(one.url).not.toBe(two.url)
  expect([await isHealthy(one.url), await isHealthy(two.url)]).toEqual([true, true])
  for (const [name, { url }] of [['one', one] as const, ['two', two] as const]) {
    expect(iniOf(name)).toContain(`port = ${new URL(url).port}\n`)
    expect(statSync(join(folder(name), 'token')).mode & 0o777).toBe(0o600)
  }
  expect(await listed()).toEqual({ one: 'running', two: 'running' })
})

it('one keeps its port over stop, start and restart, and a second start is refused', async () => {
  const one = await start('one')
  const two = await start('two')
  expect(await mailProxy('status', 'one')).toMatchObject({ code: 0, out: expect.stringContaining('running (pid') })
  expect(await mailProxy('stop', 'one')).toMatchObject({ code: 0, out: `one stopped (pid ${one.pid})\n` })
  expect([await isHealthy(one.url), await isHealthy(two.url)]).toEqual([false, true])
  expect(await mailProxy('status', 'one')).toMatchObject({ code: 1, out: expect.stringContaining('stopped') })
  expect(await mailProxy('stop', 'one')).toMatchObject({ code: 0, out: 'one does not run\n' })
  const again = await startWith('one')
  expect([again.url, again.pid === one.pid]).toEqual([one.url, false])
  const restarted = await mailProxy('restart', 'two', '--json')
  expect(JSON.parse(restarted.out)).toMatchObject({ instance: 'two', url: two.url })
  expect(await mailProxy('start', 'two')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^Error: two runs already on http:\S+ \(pid \d+\)\n$/),
  })
})

it('a port that was chosen and is taken is an error in one line, told by the command that asked for the start', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await new Promise(done => other.once('listening', done))
  const { port } = other.address() as { port: number }
  try {
    const { code, out, err } = await mailProxy('start', 'shop', '--background', '--port', String(port))
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(new RegExp(`^Error: port ${port} on 127\\.0\\.0\\.1 is in use: [^\\n]+\\n$`))
  } finally {
    other.close()
  }
  const free = await start('shop', port)
  expect(new URL(free.url).port).toBe(String(port))
})

it('the token is made once, shown by its command, replaced while it runs, and stands in no log', async () => {
  const { url } = await start('shop')
  const token = (await mailProxy('shop', 'token')).out.trim()
  const ask = async (with_: string) => (await fetch(`${url}/tenants`, { headers: { 'x-api-token': with_ } })).status
  expect(await ask(token)).toBe(200)
  const fresh = (await mailProxy('shop', 'token', '--regenerate')).out.trim()
  expect(fresh).not.toBe(token)
  // A service remembers a token for a second; the command has waited for that.
  expect([await ask(token), await ask(fresh)]).toEqual([401, 200])
  expect(await mailProxy('shop', 'tenants', 'list')).toMatchObject({ code: 0 })
  const log = readFileSync(join(folder('shop'), 'log'), 'utf8')
  expect(log).toContain('listens on')
  expect(log).not.toContain(token)
  expect(log).not.toContain(fresh)
})

it('a killed one is seen as stopped and starts again; what a command did meanwhile is there', async () => {
  const { pid } = await start('shop')
  process.kill(pid, 'SIGKILL')
  await expect.poll(listed, { timeout: 10_000 }).toEqual({ shop: 'stopped' })
  expect(existsSync(join(folder('shop'), 'pid'))).toBe(true)
  expect(await mailProxy('shop', 'tenants', 'add', 'acme')).toMatchObject({ code: 0 })
  await startWith('shop')
  expect((await mailProxy('shop', 'tenants', 'show', 'acme')).code).toBe(0)
})

it('delete asks, refuses a running one, and removes the folder and nothing else', async () => {
  await start('shop')
  await start('other')
  expect(await mailProxy('delete', 'shop', '--yes')).toMatchObject({ code: 1, err: expect.stringContaining('stop') })
  await mailProxy('stop', 'shop')
  expect(await mailProxy('delete', 'shop')).toMatchObject({ code: 2, err: 'Error: this needs a yes: add --yes\n' })
  expect(existsSync(folder('shop'))).toBe(true)
  expect(await mailProxy('delete', 'shop', '--yes')).toMatchObject({ code: 0, out: 'shop is removed\n' })
  expect(existsSync(folder('shop'))).toBe(false)
  expect(await listed()).toEqual({ other: 'running' })
  expect((await mailProxy('delete', 'shop', '--yes')).code).toBe(1)
})

it('a wrong config.ini is told by start, list and status, and delete still works', async () => {
  await start('shop')
  await mailProxy('stop', 'shop')
  writeFileSync(join(folder('shop'), 'config.ini'), '[server]\nprot = 8000\n')
  for (const args of [
    ['start', 'shop', '--background'],
    ['start', 'shop'],
    ['status', 'shop'],
    ['shop', 'diagnose'],
  ]) {
    const { code, err } = await mailProxy(...args)
    expect([code, err]).toEqual([1, 'Error: config.ini [server] prot is not a known key; did you mean port?\n'])
  }
  expect(await listed()).toEqual({ shop: 'broken' })
  expect((await mailProxy('delete', 'shop', '--yes')).code).toBe(0)
})
