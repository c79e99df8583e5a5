/** The first start on a bare machine: it makes its token and key, and prints commands that work as printed. */
import { execFile } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, expect, it, vi } from 'vitest'
import { type ServiceProcess, startProcess, tempDir } from '../support/process.js'
import { until } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const run = promisify(execFile)
let process: ServiceProcess | undefined
let removal: (() => Promise<void>) | undefined

afterEach(async () => {
  process?.kill('SIGKILL')
  await process?.exited
  await removal?.()
})

it('the first start prints a token and commands that work; the second prints neither', async () => {
  const { dir, remove } = await tempDir()
  removal = remove
  process = await startProcess({ dir })
  const first = process
  await until('the welcome', () => /what became of it\n.*\n/.test(first.output()))
  const folder = join(dir, 'instances', 'default')
  const token = (await readFile(join(folder, 'token'), 'utf8')).trim()
  expect(first.output()).toContain(token)

  for (const name of await readdir(folder)) {
    // Only we may read what is secret, and the database holds mail.
    const mode = (await stat(join(folder, name))).mode & 0o777
    if (['token', 'key'].includes(name)) expect(`${name} ${mode.toString(8)}`).toBe(`${name} 600`)
  }
  expect((await stat(folder)).mode & 0o777).toBe(0o700)

  const printed = first.output().split('To go on, in another terminal:')[1] ?? ''
  const script = printed
    .split('\n')
    .filter(line => /^ {2}(TOKEN=|curl | {2}-H )/.test(line))
    .join('\n')
  const answers = script.split(/\n(?= {2}curl)/)
  expect(answers).toHaveLength(5)
  const { stdout } = await run('bash', ['-e', '-c', script.replaceAll(/(\n {2}curl)/g, '\necho$1')])
  const [tenant, account, accepted, listed] = stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line))
  expect(tenant).toMatchObject({ ok: true, api_key: expect.any(String) })
  expect(account).toMatchObject({ ok: true })
  expect(accepted).toMatchObject({ ok: true, queued: 1, rejected: [] })
  expect(listed.messages).toEqual([expect.objectContaining({ id: 'first-1', tenant_id: 'acme' })])

  first.kill('SIGTERM')
  expect(await first.exited).toBe(0)
  process = await startProcess({ dir })
  const { url } = process
  const status = await fetch(`${url}/status`, { headers: { 'X-API-Token': token } })
  expect(status.status).toBe(200)
  expect(process.output()).not.toContain(token)
  expect(process.output()).not.toMatch(/Admin token|curl/)
})
