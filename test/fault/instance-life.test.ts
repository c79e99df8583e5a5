/**
 * An instance in the background as an operator has it: a process that is starting, frozen, or has lost its pid file is
 * still seen, and nothing is started, removed or asked past it.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { lockAlone } from '../../src/db/sqlite.js'
import { runCommandHere } from '../support/command.js'
import { type CommandEnd, runCommand, tempDir } from '../support/process.js'
import { until } from '../support/world.js'

vi.setConfig({ testTimeout: 90_000 })

let dir: string
let remove: () => Promise<void>
const pids: number[] = []
beforeEach(async () => {
  ;({ dir, remove } = await tempDir())
})
afterEach(async () => {
  for (const pid of pids.splice(0)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended, as it should.
    }
  }
  await remove()
})

const mailProxy = (...args: string[]) => runCommandHere({ dir, args, env: { LOG_LEVEL: 'info' } })
const folder = (name = 'shop') => join(dir, 'instances', name)

function pidOf(name = 'shop'): number {
  const pid = Number(readFileSync(join(folder(name), 'pid'), 'utf8').split('\n')[0])
  pids.push(pid)
  return pid
}

async function started(): Promise<number> {
  expect(await mailProxy('start', 'shop', '--background')).toMatchObject({ code: 0, err: '' })
  return pidOf()
}

/** A port where nobody answers a PostgreSQL client, who waits. */
async function silentServer() {
  const server = createServer(() => {})
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  return { url: `postgresql://mail:hunter2secret@127.0.0.1:${port}/mail`, close: () => server.close() }
}

it('one that waits for its database is seen as starting, started once, not removed, and stopped', async () => {
  const away = await silentServer()
  const starting = mailProxy('start', 'shop', '--background', '--database-url', away.url)
  await until('noted', async () => existsSync(join(folder(), 'pid')))
  const pid = pidOf()
  expect(JSON.parse((await mailProxy('list', '--json')).out).instances).toMatchObject([{ state: 'starting', pid }])
  expect(await mailProxy('status', 'shop')).toMatchObject({
    code: 1,
    out: expect.stringContaining(`starting (pid ${pid})`),
  })
  for (const args of [
    ['start', 'shop', '--background'],
    ['start', 'shop'],
    ['delete', 'shop', '--yes'],
    ['shop', 'tenants', 'add', 'acme'],
  ]) {
    const { code, err } = await mailProxy(...args)
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining(`pid ${pid}`) })
  }
  // Every user of the machine reads the list of processes.
  if (existsSync('/proc')) expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toMatch(/start shop .*mail:\*\*\*@/)
  // The database of the configuration, which the flags are above, was not made for a tenant.
  expect(existsSync(join(folder(), 'mail_service.db'))).toBe(false)
  expect((await mailProxy('shop', 'diagnose', '--no-network')).out).toContain(`process ${pid} is starting`)
  expect(await mailProxy('stop', 'shop')).toMatchObject({ code: 0, out: `shop stopped (pid ${pid})\n` })
  expect(await starting).toMatchObject({ code: 1, err: expect.stringContaining('was stopped while it was starting') })
  expect(existsSync(join(folder(), 'pid'))).toBe(false)
  away.close()
})

it('of several starts at once one serves, and the others name it', async () => {
  // What a killed one left: this process's id with another's mark.
  mkdirSync(folder(), { recursive: true })
  writeFileSync(join(folder(), 'pid'), `${process.pid}\nhttp://127.0.0.1:9\n1\n`)
  const ends: CommandEnd[] = await Promise.all([1, 2, 3].map(() => mailProxy('start', 'shop', '--background')))
  const pid = pidOf()
  expect(ends.filter(each => each.code === 0)).toHaveLength(1)
  for (const { err } of ends.filter(each => each.code !== 0)) {
    expect(err).toMatch(new RegExp(`^Error: shop (runs|is starting) already .*\\(pid ${pid}\\)\n$`))
  }
  expect(await mailProxy('status', 'shop')).toMatchObject({ code: 0 })
})

it('one that is frozen is no stopped one, and no command waits long for it', async () => {
  const pid = await started()
  process.kill(pid, 'SIGSTOP')
  expect(JSON.parse((await mailProxy('list', '--json')).out).instances).toMatchObject([{ state: 'not answering', pid }])
  const began = performance.now()
  const { code, err } = await mailProxy('shop', 'tenants', 'list')
  expect({ code, err }).toEqual({ code: 1, err: expect.stringMatching(/pid \d+\) does not answer on .*restart shop/) })
  expect(performance.now() - began).toBeLessThan(25_000)
  process.kill(pid, 'SIGCONT')
  expect(await mailProxy('stop', 'shop')).toMatchObject({ code: 0 })
})

it('one without its pid file keeps its folder, and what is stopped is removed', async () => {
  const pid = await started()
  rmSync(join(folder(), 'pid'))
  expect(await mailProxy('delete', 'shop', '--yes')).toMatchObject({
    code: 1,
    err: expect.stringContaining('is already served'),
  })
  expect(existsSync(join(folder(), 'mail_service.db'))).toBe(true)
  process.kill(pid, 'SIGTERM')
  await until('removed', async () => (await mailProxy('delete', 'shop', '--yes')).code === 0)
  expect(existsSync(folder())).toBe(false)
})

it('a PostgreSQL that is away is named, without its password, and what to look at', async () => {
  mkdirSync(folder(), { recursive: true })
  writeFileSync(join(folder(), 'config.ini'), '[storage]\ndb_path = postgresql://mail:hunter2secret@127.0.0.1:1/mail\n')
  for (const args of [
    ['tenants', 'list'],
    ['token', '--regenerate'],
    ['migrate', '--status'],
  ]) {
    const { code, err } = await mailProxy('shop', ...args)
    expect({ code, err }).toEqual({
      code: 1,
      err: expect.stringMatching(
        /^Error: the database postgresql:\/\/mail:\*\*\*@127.0.0.1:1\/mail cannot be reached .*\?\n$/,
      ),
    })
  }
})

it('a start and a command wait for the command that has the database', async () => {
  await started()
  expect(await mailProxy('stop', 'shop')).toMatchObject({ code: 0 })
  const lock = await lockAlone(join(folder(), 'mail_service.db'))
  const listing = runCommand({ dir, args: ['shop', 'tenants', 'list'], env: { LOG_LEVEL: 'info' } })
  const starting = mailProxy('start', 'shop', '--background')
  await until('noted', async () => existsSync(join(folder(), 'pid')))
  pidOf()
  lock.release()
  expect(await starting).toMatchObject({ code: 0, err: '' })
  expect(await listing).toMatchObject({ code: 0, err: '' })
})

it('a key that is gone is missed, and no other is made in its place', async () => {
  await started()
  expect(await mailProxy('stop', 'shop')).toMatchObject({ code: 0 })
  const key = join(folder(), 'key')
  renameSync(key, `${key}.aside`)
  for (const args of [
    ['start', 'shop', '--background'],
    ['shop', 'tenants', 'list'],
  ]) {
    const { code, err } = await mailProxy(...args)
    expect({ code, err }).toEqual({
      code: 1,
      err: expect.stringMatching(/^Error: the encryption key is missing: .*key\./),
    })
  }
  expect(existsSync(key)).toBe(false)
  renameSync(`${key}.aside`, key)
  await started()
})

it('a folder that is a symbolic link is listed, and not half removed', async () => {
  const elsewhere = join(dir, 'elsewhere')
  mkdirSync(elsewhere)
  mkdirSync(join(dir, 'instances'))
  symlinkSync(elsewhere, folder())
  expect(JSON.parse((await mailProxy('list', '--json')).out).instances).toMatchObject([{ name: 'shop' }])
  expect(await mailProxy('delete', 'shop', '--yes')).toMatchObject({ code: 1, err: expect.stringContaining(elsewhere) })
  expect(existsSync(folder())).toBe(true)
})
