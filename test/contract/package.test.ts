/** The package as it is published: packed, unpacked beside an application, imported and compiled against there. */
import { execFile } from 'node:child_process'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tempDir } from '../support/process.js'

const run = promisify(execFile)

describe('the package', () => {
  let files: string[]
  let app: string
  let remove: () => Promise<void>
  const inApp = async (program: string, ...args: string[]) => (await run(program, args, { cwd: app })).stdout
  const node = (script: string, type = 'module') => inApp(process.execPath, `--input-type=${type}`, '-e', script)

  beforeAll(async () => {
    const { dir, remove: removeDir } = await tempDir()
    remove = removeDir
    app = join(dir, 'app')
    const own = join(app, 'node_modules/genro-mail-proxy')
    await mkdir(own, { recursive: true })
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', dir])
    const [packed] = JSON.parse(stdout)
    files = packed.files.map((each: { path: string }) => each.path)
    await run('tar', ['-xzf', join(dir, packed.filename), '-C', own, '--strip-components=1'])
    // What an application that uses Nodemailer has, and nothing of what the service needs.
    await mkdir(join(app, 'node_modules/@types'))
    for (const name of ['nodemailer', '@types/node', '@types/nodemailer', 'undici-types']) {
      await symlink(resolve('node_modules', name), join(app, 'node_modules', name))
    }
    await writeFile(join(app, 'package.json'), '{"name": "app", "type": "module"}')
    await writeFile(join(app, 'app.ts'), APP)
  })
  afterAll(() => remove())

  it('holds what is used, and no sources and tests', () => {
    expect(files).toEqual(
      expect.arrayContaining([
        'dist/main.js',
        'dist/client/index.js',
        'dist/client/index.d.ts',
        'dist/client/nodemailer/index.d.ts',
        'docs/client.md',
        'examples/client/main.ts',
        'examples/recipes/flask/app.py',
        'LICENSE',
      ]),
    )
    expect(
      files.filter(each => /^(src|test|build|node_modules|bench|demo)\/|\.test\.|\.db|__pycache__/.test(each)),
    ).toEqual([])
  })

  it('gives the client to an application that has none of the service’s dependencies', async () => {
    const script = (load: string) => `${load}
      const { code } = await createClient({ url: 'http://127.0.0.1:1', token: 'x', retry: false }).status().catch(e => e)
      console.log(code, mailProxyTransport({ url: 'http://127.0.0.1:1', token: 'x' }).name, verifyReport({}, '', []))`
    const module = script(`import { createClient, verifyReport } from 'genro-mail-proxy/client'
      import { mailProxyTransport } from 'genro-mail-proxy/nodemailer'`)
    expect(await node(module)).toBe('unreachable MailProxy false\n')
    const common = script(`const { createClient, verifyReport } = require('genro-mail-proxy/client')
      const { mailProxyTransport } = require('genro-mail-proxy/nodemailer')`)
    expect(await node(`(async () => {${common}})()`, 'commonjs')).toBe('unreachable MailProxy false\n')
  })

  it('gives nothing else of itself but its package.json', async () => {
    for (const inner of ['genro-mail-proxy', 'genro-mail-proxy/dist/service.js']) {
      await expect(node(`await import('${inner}')`)).rejects.toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED')
    }
    expect(await node("console.log(import.meta.resolve('genro-mail-proxy/package.json'))")).toContain('package.json')
  })

  it.each([
    ['those that Nodemailer brings along', {}],
    ['@types/nodemailer', { nodemailer: ['./node_modules/@types/nodemailer/index.d.ts'] }],
  ])('has types that a strict compiler takes, with %s', async (_, paths) => {
    await expect(compile({ paths })).resolves.toBe('')
  })

  it('has the types that docs/client.md uses', async () => {
    const text = await readFile('docs/client.md', 'utf8')
    const blocks = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(match => match[1]!)
    expect(blocks.length).toBeGreaterThan(3)
    const names = blocks.map((_, i) => `docs-${i}.ts`)
    for (const [i, block] of blocks.entries()) await writeFile(join(app, names[i]!), block)
    await expect(compile({ files: names })).resolves.toBe('')
  })

  it('has types that refuse what is wrong', async () => {
    const wrong = `import { createClient } from 'genro-mail-proxy/client'
      const client = createClient({ url: 'http://localhost', token: 'x' })
      client.addMessages([{ id: '1', from: 'a@example.org', to: 'b@example.net', subject: 's', priority: 'urgent' }])
      createClient({ url: 'http://localhost' })`
    await writeFile(join(app, 'wrong.ts'), wrong)
    const said = await compile({ files: ['wrong.ts'] }).catch(error => error.stdout as string)
    expect(said).toMatch(/wrong\.ts\(3,.*'"urgent"' is not assignable/)
    expect(said).toMatch(/wrong\.ts\(4,.*'token' is missing/)
  })

  it('says its own version where Nodemailer asks the transport for it', async () => {
    const { version } = JSON.parse(await readFile('package.json', 'utf8'))
    const script =
      "import { mailProxyTransport as t } from 'genro-mail-proxy/nodemailer'; console.log(t({ url: 'http://x', token: 'x' }).version)"
    expect(await node(script)).toBe(`${version}\n`)
  })

  async function compile({
    paths = {},
    files: given = ['app.ts'],
  }: {
    paths?: object
    files?: string[]
  }): Promise<string> {
    const compilerOptions = {
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      noEmit: true,
      target: 'es2022',
      module: 'nodenext',
      types: ['node'],
      // Ours are looked into as well, and so are those they name.
      skipLibCheck: false,
      paths,
    }
    await writeFile(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: given }))
    return inApp(process.execPath, resolve('node_modules/typescript/bin/tsc'), '-p', '.')
  }
})

const APP = `
import { createClient, createReportReceiver, MailProxyError, verifyReport, type MessageRecord } from 'genro-mail-proxy/client'
import { mailProxyTransport, type MailProxyOptions } from 'genro-mail-proxy/nodemailer'
import nodemailer, { type SendMailOptions } from 'nodemailer'

const client = createClient({ url: 'http://127.0.0.1:8000', token: 'key', retry: { attempts: 2 } })
export async function submit(): Promise<string[]> {
  const { queued, rejected } = await client.addMessages(
    [{ id: '1', from: 'a@example.org', to: ['b@example.net'], subject: 's', body: 'b', priority: 'high' }],
    { defaultPriority: 2 },
  )
  try {
    const record: MessageRecord = await client.getMessage('1')
    for await (const each of client.listMessages({ status: 'error' })) console.log(each.id, record.status, queued)
    for await (const { reports, cursor } of client.replayReports()) console.log(reports.length, cursor)
  } catch (error) {
    if (error instanceof MailProxyError && error.retryAfter !== null) console.log(error.code, error.retryAfter + 1)
  }
  return rejected.map(({ reason }) => reason)
}
export const receive = createReportReceiver({
  auth: { method: 'bearer', token: 'x' },
  record: async entries => ({ not_found: entries.map(({ id }) => id) }),
})
export const isGenuine: boolean = verifyReport(new Headers(), 'body', [])

const transport = nodemailer.createTransport(mailProxyTransport({ url: 'http://127.0.0.1:8000', token: 'key' }))
const mail: SendMailOptions & MailProxyOptions = { to: 'a@example.org', mailProxy: { id: 'order-1', priority: 'low' } }
transport.sendMail(mail).then(info => console.log(info.accepted, info.messageId, info.envelope.to, info.response))
transport.verify().then(console.log)
`
