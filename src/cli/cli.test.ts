import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cliEnds } from '../../test/support/cli-io.js'
import type { Config } from '../config.js'
import { readAdminTokenHash, setFirstAdminToken } from '../http/admin-token.js'
import { hashToken } from '../lib/tokens.js'
import { VERSION } from '../lib/version.js'
import { makeFirstToken } from './admin-token.js'
import { withInstanceDatabase } from './database.js'
import { runCli } from './index.js'
import { readRunning, readToken } from './instance.js'
import type { CreateService } from './serving.js'
import { welcome } from './welcome.js'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'gmp-cli-'))
})
afterEach(() => rmSync(home, { recursive: true, force: true }))

const terminal = (env: Record<string, string> = {}) => cliEnds({ env: { LOG_LEVEL: 'error', ...env }, home })

/** A service that really listens; the rest of the service is not this test's matter. */
function listeningService() {
  const seen = { configs: [] as Config[], started: 0, stopped: 0 }
  let ready: (url: string) => void
  const url = new Promise<string>(resolve => {
    ready = resolve
  })
  const createService: CreateService = (config, _log, { db }) => {
    seen.configs.push(config)
    const server = createServer((_, response) => response.end('ok'))
    return {
      async start() {
        server.listen(config.server.port, config.server.host)
        await once(server, 'listening')
        seen.started += 1
        const { port } = server.address() as AddressInfo
        const at = `http://${config.server.host}:${port}`
        setImmediate(() => ready(at))
        return { url: at }
      },
      async stop() {
        seen.stopped += 1
        server.close()
        await db.close()
      },
    }
  }
  return { createService, seen, url }
}

/** Runs until it listens, lets the caller look, then stops it as an operator would. */
async function served(argv: string[], env: Record<string, string> = {}, look: (url: string) => void = () => {}) {
  const { io, state, signal } = terminal(env)
  const service = listeningService()
  const ended = runCli(argv, io, service.createService)
  look(await Promise.race([service.url, ended.then(code => `ended with ${code}: ${state.err}`)]))
  signal()
  return { code: await ended, ...state, ...service.seen }
}

async function run(argv: string[], env: Record<string, string> = {}) {
  const { io, state } = terminal(env)
  const code = await runCli(argv, io, listeningService().createService)
  return { code, out: state.out, err: state.err }
}

const folder = (name: string) => join(home, '.mail-proxy', name)

describe('serve', () => {
  it('makes the token once, shows it once with commands to go on, and keeps only its hash in the database', async () => {
    const first = await served(['serve', '--host', '127.0.0.1', '--port', '0'])
    const token = readToken(folder('default'))
    expect(first).toMatchObject({ code: 0, started: 1, stopped: 1, exits: [] })
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(first.err).toContain(token)
    expect(first.err.match(/curl /g)).toHaveLength(4)
    expect(statSync(join(folder('default'), 'token')).mode & 0o777).toBe(0o600)
    expect(statSync(folder('default')).mode & 0o777).toBe(0o700)
    const [config] = first.configs
    await withInstanceDatabase(config!, { exclusive: false }, async db => {
      expect(await readAdminTokenHash(db)).toBe(hashToken(token!))
    })

    const second = await served(['serve', '--host', '127.0.0.1', '--port', '0'])
    expect(second.code).toBe(0)
    expect(second.err).toBe('')
    expect(readToken(folder('default'))).toBe(token)
  })

  it('makes no token when the configuration has one, or when nobody asks for one', async () => {
    const given = await served(['serve', '--host', '127.0.0.1', '--port', '0'], { GMP_API_TOKEN: 'from-outside' })
    expect(given).toMatchObject({ code: 0, err: '' })
    const open = await served(['serve', '--host', '127.0.0.1', '--port', '0', '--insecure-no-auth'])
    expect(open.code).toBe(0)
    expect(open.configs[0]!.server.insecureNoAuth).toBe(true)
    expect(existsSync(join(folder('default'), 'token'))).toBe(false)
  })

  it('keeps the token beside the database where the environment puts that', async () => {
    const data = join(home, 'data')
    const env = { GMP_DB_PATH: join(data, 'mail.db') }
    await served(['serve', '--host', '127.0.0.1', '--port', '0'], env)
    expect(existsSync(join(data, 'mail.db'))).toBe(true)
    expect((await run(['default', 'token'], env)).out.trim()).toBe(readToken(data))
  })

  it('tells who it is while it runs, and takes that back when it stops', async () => {
    let noted: unknown
    const { code } = await served(['serve', '--host', '127.0.0.1', '--port', '0'], {}, url => {
      noted = readRunning(folder('default'))
      expect(noted).toEqual({ pid: process.pid, url, mark: null })
    })
    expect(code).toBe(0)
    expect(noted).toBeDefined()
    expect(readRunning(folder('default'))).toBeNull()
  })

  it('says in one line that the port is in use and what to do', async () => {
    const other: Server = createTcpServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const { code, err } = await run(['serve', '--host', '127.0.0.1', '--port', String(port)])
    other.close()
    expect(code).toBe(1)
    expect(err).toBe(
      `Error: port ${port} on 127.0.0.1 is in use: stop what listens there, or choose another port with --port, GMP_PORT or port in config.ini's [server]\n`,
    )
  })

  it('ends at once on the second signal', async () => {
    const { io, state, signal, listening } = terminal()
    const service = listeningService()
    let release = () => {}
    const ended = runCli(['serve', '--host', '127.0.0.1', '--port', '0'], io, async (config, log, prepared) => {
      const real = await service.createService(config, log, prepared)
      return {
        start: () => real.start(),
        stop: () =>
          new Promise<void>(resolve => {
            release = () => resolve(real.stop())
          }),
      }
    })
    await service.url
    signal('SIGTERM')
    expect(state.exits).toEqual([])
    signal('SIGINT')
    expect(state.exits).toEqual([130])
    // The premise: the first stop was still under way.
    await Promise.resolve()
    release()
    expect(await ended).toBe(0)
    expect(listening).toEqual([])
  })

  it('refuses a wrong value before anything is made', async () => {
    expect(await run(['serve', '--port', 'http'])).toEqual({
      code: 2,
      out: '',
      err: 'Error: --port is "http": it should be a whole number from 0 to 65535 (not one that browsers refuse, as 6000)\n',
    })
    const { code, err } = await run(['serve'], { GMP_TIMEZONE: 'Mars' })
    expect([code, err]).toEqual([
      1,
      'Error: GMP_TIMEZONE is "Mars": it should be a time zone, as in Europe/Rome or UTC\n',
    ])
    expect(existsSync(folder('default'))).toBe(false)
  })

  it('refuses a database URL it does not know, without showing it', async () => {
    const { code, err } = await run(['serve', '--host', '127.0.0.1', '--port', '0', '--database-url', 'nowhere://x/y'])
    expect(code).toBe(2)
    expect(err).toMatch(/^Error: --database-url has a wrong value: it should be a file path/)
  })

  it('waits for a PostgreSQL that is away, and stops while it waits', async () => {
    const { io, state, signal, listening } = terminal({ GMP_DB_PATH: 'postgresql://u:hunter2@127.0.0.1:1/mail' })
    const service = listeningService()
    const ended = runCli(['serve', '--host', '127.0.0.1', '--port', '0'], io, service.createService)
    await expect.poll(() => listening.length).toBe(1)
    signal()
    expect(await ended).toBe(0)
    expect(service.seen.started).toBe(0)
    expect(state.err).toBe('')
  })
})

describe('start <instance>', () => {
  it('reads the folder’s config.ini', async () => {
    await run(['shop', 'info'])
    await served(['start', 'shop', '--port', '0'], { GMP_HOST: '127.0.0.1' })
    writeFileSync(join(folder('shop'), 'config.ini'), '[delivery]\nmax_retries = 2\n')
    const { configs, code } = await served(['start', 'shop', '--port', '0'], { GMP_HOST: '127.0.0.1' })
    expect(code).toBe(0)
    expect(configs[0]!.queue.maxRetries).toBe(2)
    expect(configs[0]!.instance).toEqual({ name: 'shop', dir: folder('shop') })
    writeFileSync(join(folder('shop'), 'config.ini'), '[delivery]\nmax_retrys = 2\n')
    expect((await run(['start', 'shop'])).err).toBe(
      'Error: config.ini [delivery] max_retrys is not a known key; did you mean max_retries?\n',
    )
  })

  it('has its folders where GMP_INSTANCES_DIR says', async () => {
    const env = { GMP_INSTANCES_DIR: join(home, 'srv'), GMP_HOST: '127.0.0.1' }
    await served(['start', 'shop', '--port', '0'], env)
    expect(existsSync(join(home, 'srv', 'shop', 'mail_service.db'))).toBe(true)
  })
})

describe('<instance> token', () => {
  it('shows the token, and replaces it in the folder and in the database', async () => {
    const { configs } = await served(['start', 'shop', '--host', '127.0.0.1', '--port', '0'])
    const old = readToken(folder('shop'))
    expect(await run(['shop', 'token'])).toEqual({ code: 0, out: `${old}\n`, err: '' })
    const { code, out } = await run(['shop', 'token', '--regenerate', '--json'])
    const { token } = JSON.parse(out)
    expect(code).toBe(0)
    expect(token).not.toBe(old)
    expect(readToken(folder('shop'))).toBe(token)
    await withInstanceDatabase(configs[0]!, { exclusive: false }, async db => {
      expect(await readAdminTokenHash(db)).toBe(hashToken(token))
    })
  })

  it('says where to look when the token is not kept here, and leaves one from the configuration alone', async () => {
    await served(['start', 'shop', '--host', '127.0.0.1', '--port', '0'])
    rmSync(join(folder('shop'), 'token'))
    expect(await run(['shop', 'token'])).toMatchObject({ code: 1, err: expect.stringContaining('--regenerate') })
    const env = { GMP_API_TOKEN: 'from-outside' }
    expect((await run(['shop', 'token'], env)).out).toBe('from-outside\n')
    expect((await run(['shop', 'token', '-r'], env)).err).toMatch(/^Error: the token is set by the environment/)
  })
})

it('a process that loses the race for the first token keeps none', async () => {
  const { configs } = await served(['start', 'shop', '--host', '127.0.0.1', '--port', '0'])
  const dir = join(home, 'other-machine')
  await withInstanceDatabase(configs[0]!, { exclusive: false }, async db => {
    await db.write([{ sql: "delete from meta where key = 'admin_token_hash'", params: [] }])
    // The other one gets its hash in between our look and our write.
    let looks = 0
    const racing = {
      ...db,
      async read(statement: Parameters<typeof db.read>[0]) {
        const rows = await db.read(statement)
        looks += 1
        if (looks === 1) await setFirstAdminToken(db, 'the-other')
        return rows
      },
    }
    expect(await makeFirstToken(racing, dir)).toBeNull()
    expect(readToken(dir)).toBeNull()
    expect(await readAdminTokenHash(db)).toBe(hashToken('the-other'))
  })
})

describe('<instance> info and migrate', () => {
  it('tell what the instance is', async () => {
    await served(['start', 'shop', '--host', '127.0.0.1', '--port', '0'])
    const { code, out } = await run(['shop', 'info', '--json'], { GMP_PORT: '8123' })
    expect(code).toBe(0)
    const info = JSON.parse(out)
    expect(info).toMatchObject({
      name: 'shop',
      folder: folder('shop'),
      database: join(folder('shop'), 'mail_service.db'),
      url: 'http://127.0.0.1:8123',
      running: false,
      pid: null,
      version: VERSION,
    })
    expect(info.schema_version).toBe(info.schema_latest)
    writeFileSync(join(folder('shop'), 'pid'), `${process.pid}\nhttp://127.0.0.1:9\n`)
    expect((await run(['shop', 'info'])).out).toMatch(/url +http:\/\/127\.0\.0\.1:9\nrunning +yes, pid \d+\n/)
  })

  it('show a database without its password', async () => {
    await served(['start', 'shop', '--host', '127.0.0.1', '--port', '0'])
    const env = { GMP_DB_PATH: 'postgresql://mail:hunter2@127.0.0.1:1/mail?sslpassword=hunter2' }
    const { out, code } = await run(['shop', 'info'], env)
    expect(code).toBe(0)
    expect(out).toContain('postgresql://mail:***@127.0.0.1:1/mail\n')
    expect(out).not.toContain('hunter2')
  })

  it('apply migrations, or only look', async () => {
    await served(['start', 'shop', '--host', '127.0.0.1', '--port', '0'])
    rmSync(join(folder('shop'), 'mail_service.db'))
    expect((await run(['shop', 'migrate', '--status'])).out).toBe('there is no database yet\n')
    expect(existsSync(join(folder('shop'), 'mail_service.db'))).toBe(false)
    for (const suffix of ['-wal', '-shm']) rmSync(join(folder('shop'), `mail_service.db${suffix}`), { force: true })
    expect((await run(['shop', 'migrate'])).out).toMatch(/^schema \d+, \d+ applied\n$/)
    expect((await run(['shop', 'migrate', '--dry-run'])).out).toBe('nothing to apply\n')
    expect((await run(['shop', 'migrate', '--status'])).out).toMatch(/^schema (\d+) of \1\n$/)
  })
})

describe('the command line', () => {
  it('exits 2 with one line when it is called wrongly', async () => {
    for (const argv of [
      ['serve', '--prot', '1'],
      ['start'],
      ['shop', 'tokn'],
      ['bad/name', 'info'],
      ['..', 'info'],
      ['start', 'serve'],
      ['serve', 'extra'],
    ]) {
      const { code, err, out } = await run(argv)
      expect([argv, code, out]).toEqual([argv, 2, ''])
      expect(err).toMatch(/^Error: [^\n]+\n$/)
    }
  })

  it('tells who puts the instance before its command how it is written', async () => {
    for (const command of ['start', 'stop', 'restart', 'status', 'delete']) {
      const { code, err } = await run(['shop', command, '--json'])
      expect([code, err]).toEqual([2, `Error: it is \`mail-proxy ${command} shop\`\n`])
    }
    expect((await run(['shop', 'stat'])).err).toContain('(Did you mean stats?)')
  })

  it('says which file of an instance cannot be read, and why', async () => {
    mkdirSync(join(folder('shop'), 'config.ini'), { recursive: true })
    const config = join(folder('shop'), 'config.ini')
    expect((await run(['shop', 'info'])).err).toBe(`Error: ${config} cannot be read: it is a directory\n`)
    rmSync(config, { recursive: true })
    mkdirSync(join(folder('shop'), 'pid'))
    expect((await run(['status', 'shop'])).err).toBe(
      `Error: ${join(folder('shop'), 'pid')} cannot be read: it is a directory\n`,
    )
    writeFileSync(folder('file'), '')
    expect((await run(['start', 'file'])).err).toContain(
      'cannot be read: what should be the folder of the instance is a file',
    )
  })

  it('exits 1 for an instance that is not there, and makes nothing', async () => {
    expect(await run(['shop', 'info'])).toEqual({
      code: 1,
      out: '',
      err: 'Error: there is no instance shop; `mail-proxy start shop` makes one\n',
    })
    expect(existsSync(join(home, '.mail-proxy'))).toBe(false)
  })

  it('shows help and version', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, out: `${VERSION}\n`, err: '' })
    expect(VERSION).toBe(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version)
    const help = await run(['--help'])
    expect(help.code).toBe(0)
    expect(help.out).toMatch(/serve[\s\S]*start[\s\S]*<instance>/)
    expect((await run(['serve', '--help'])).out).toContain('--insecure-no-auth')
  })
})

it('the welcome gives an address that can be called and a path the shell takes whole', () => {
  const text = welcome('tok', "/home/o'neill/my mail/token", 'http://0.0.0.0:8000')
  expect(text).toContain("TOKEN=$(cat '/home/o'\\''neill/my mail/token')")
  expect(text).toContain('http://127.0.0.1:8000/tenant')
  expect(text).not.toContain('0.0.0.0')
  expect(welcome('tok', '/t', 'http://[::]:80')).toContain('http://127.0.0.1:80/account')
  for (const json of text.match(/-d '(.*)'/g) ?? []) JSON.parse(json.slice(4, -1))
})
