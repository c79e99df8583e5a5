/** The Dockerfile: it parses, what runs is not root and holds no build tools, and it does what its comments say. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { validate } from 'dockerfile-utils'
import { afterEach, describe, expect, it } from 'vitest'
import { has } from '../support/deploy-files.js'
import { type ServiceProcess, startProcess, tempDir } from '../support/process.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

const text = readFileSync('Dockerfile', 'utf8')
const instructions = text
  .replace(/^\s*#.*\n/gm, '')
  .replace(/\\\n/g, ' ')
  .split('\n')
  .map(line => /^([A-Z]+)\s+(.*)$/.exec(line))
  .filter(match => match !== null)
  .map(([, name = '', rest = '']) => ({ name, rest }))
/** What the image is; the stages before it are thrown away. */
const image = instructions.slice(instructions.findLastIndex(({ name }) => name === 'FROM'))
const all = (name: string) => image.filter(each => each.name === name).map(({ rest }) => rest)
const environment: Record<string, string> = Object.fromEntries(
  all('ENV').flatMap(rest => rest.split(/\s+/).map(pair => pair.split(/=(.*)/s))),
)

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each()
})

describe('the Dockerfile', () => {
  it('is one, without a warning', () => {
    expect(validate(text)).toEqual([])
    expect(validate('FORM node\nUSER').length).toBeGreaterThan(0)
  })

  it('installs from the lock file alone, and runs no install script', () => {
    const installs = instructions.filter(({ name, rest }) => name === 'RUN' && rest.startsWith('npm ci'))
    expect(installs).toHaveLength(2)
    for (const { rest } of installs) expect(rest).toContain('--ignore-scripts')
  })

  it('ships the dependencies without those of development', () => {
    expect(text).toMatch(/AS dependencies\n(?:.*\n)*?RUN npm ci --omit=dev /)
    expect(all('COPY')).toContain('--from=dependencies /app/node_modules ./node_modules')
  })

  it('runs as a numbered user that owns its volume and is not root', () => {
    expect(all('USER')).toEqual(['10001:10001'])
    expect(all('VOLUME')).toEqual(['["/data"]'])
    expect(all('RUN').join()).toContain('chown 10001:10001 /data')
  })

  it('exposes the port that it listens on, on every address', () => {
    expect(all('EXPOSE')).toEqual([environment.GMP_PORT])
    expect(environment.GMP_HOST).toBe('0.0.0.0')
  })

  it('carries the version of the package, and so do compose, chart and manifests', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
    expect(all('ARG')).toContain(`VERSION=${version}`)
    expect(readFileSync('deploy/docker/compose.yaml', 'utf8')).toContain(`:\${MAIL_PROXY_VERSION:-${version}}`)
    expect(readFileSync('deploy/docker/env.example', 'utf8')).toContain(`MAIL_PROXY_VERSION=${version}\n`)
    expect(readFileSync('deploy/kubernetes/kustomization.yaml', 'utf8')).toContain(`newTag: ${version}\n`)
    expect(readFileSync('deploy/helm/genro-mail-proxy/Chart.yaml', 'utf8')).toContain(`appVersion: ${version}\n`)
  })

  it('sends the engine what it copies, and nothing that is secret or large', () => {
    const sent = readFileSync('.dockerignore', 'utf8')
      .split('\n')
      .filter(line => /^[^#]/.test(line))
    expect(sent[0]).toBe('*')
    const allowed = sent.filter(line => line.startsWith('!')).map(line => line.slice(1))
    const copied = instructions
      .filter(({ name, rest }) => name === 'COPY' && !rest.startsWith('--from'))
      .flatMap(({ rest }) =>
        rest
          .split(/\s+/)
          .slice(0, -1)
          .map(path => path.replace('./', '')),
      )
    expect([...new Set(copied)].sort()).toEqual(allowed.sort())
    for (const path of allowed) expect(existsSync(path), path).toBe(true)
  })
})

describe('the health check', () => {
  const command = JSON.parse(/CMD (\[.*\])/.exec(all('HEALTHCHECK').join())![1]!) as string[]
  const checkAt = (port: string) =>
    new Promise<number | null>(done => {
      const env = { PATH: process.env.PATH, GMP_PORT: port }
      spawn(command[0]!, command.slice(1), { env, stdio: 'ignore' }).once('exit', done)
    })

  it('passes while the service runs and fails when it does not', async () => {
    const service = await start()
    const { port } = new URL(service.url)
    expect(await checkAt(port)).toBe(0)
    service.kill('SIGTERM')
    expect(await service.exited).toBe(0)
    expect(await checkAt(port)).toBe(1)
  })
})

describe.skipIf(!has('unshare', '--mount', 'true'))('with nothing writable but its volume', () => {
  it('starts, keeps a large attachment, sends, and stops with 0', async () => {
    const sink = await startSink()
    undo.push(() => sink.close())
    const service = await start([
      ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c'],
      // It shows that it is so before it becomes the service.
      `mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro / &&
       { above=$(findmnt -no TARGET -T "$HOME/.."); [ "$above" = / ] || mount -o remount,bind,ro "$above"; } &&
       touch "$HOME/here" && ! touch "$HOME/../elsewhere" 2>/dev/null && exec "$@"`,
      'sh',
    ])
    expect(await sendLargeFile(service, sink)).toBe('sent')
    service.kill('SIGTERM')
    expect(await service.exited).toBe(0)
  })
})

/** The service with the image's own environment, its volume in a folder of this test. */
async function start(within?: readonly string[]): Promise<ServiceProcess> {
  const { dir, remove } = await tempDir()
  undo.push(remove)
  const data = join(dir, 'data')
  await mkdir(data)
  const env = Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value.replace('/data', data)]),
  )
  expect(env).toMatchObject({ HOME: data, TMPDIR: data, GMP_INSTANCES_DIR: data })
  const own = { GMP_PORT: '0', GMP_HOST: '127.0.0.1', GMP_API_TOKEN: 'token' }
  const service = await startProcess({ dir: data, env: { ...env, ...own }, within })
  undo.push(() => service.kill('SIGKILL'))
  return service
}

/** Over 256 KB: it passes through the spool. Answers the status it ends in. */
async function sendLargeFile({ url }: ServiceProcess, sink: SmtpSink): Promise<string> {
  const ask = async (path: string, body?: object): Promise<any> => {
    const headers = { 'x-api-token': 'token', 'content-type': 'application/json' }
    const method = body === undefined ? 'GET' : 'POST'
    return (await fetch(url + path, { method, headers, body: body && JSON.stringify(body) })).json()
  }
  await ask('/tenant', { id: 'acme' })
  await ask('/account', { tenant_id: 'acme', id: 'main', host: '127.0.0.1', port: sink.port, use_tls: false })
  const file = { filename: 'a.bin', fetch_mode: 'base64', storage_path: Buffer.alloc(3_000_000, 7).toString('base64') }
  const message = { tenant_id: 'acme', account_id: 'main', from: 'a@example.com', to: 'b@example.com' }
  const content = { id: 'm1', subject: 'Large', body: 'Here it is.', attachments: [file] }
  expect(await ask('/commands/add-messages', { messages: [{ ...message, ...content }] })).toMatchObject({ queued: 1 })
  await sink.waitFor(1)
  for (;;) {
    const { status } = await ask('/messages/m1?tenant_id=acme')
    if (status !== 'sending' && status !== 'pending') return status
  }
}
