/** config.ini's [volumes] over the starts of one instance: made, changed, removed; what is wrong stops the start. */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { loadConfig } from '../../src/load-config.js'
import { createService } from '../../src/service.js'
import { TEST_KEY } from '../support/secrets.js'
import { startTestService } from '../support/service.js'
import { silentLog } from '../support/silent-log.js'

/** As the test service has it. */
const KEY = TEST_KEY

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gmp-volumes-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

async function iniOf(lines: string): Promise<string> {
  const path = join(dir, 'volumes.ini')
  await writeFile(path, `[volumes]\n${lines}\n`)
  return path
}

async function start(lines: string, env: Record<string, string> = {}) {
  return startTestService({ dir, env: { GMP_CONFIG: await iniOf(lines), ...env } })
}

async function failToStart(lines: string): Promise<unknown> {
  const env = { GMP_CONFIG: await iniOf(lines), GMP_API_TOKEN: 'x', GMP_PORT: '0', GMP_ENCRYPTION_KEY: KEY }
  const { config } = loadConfig({ flags: {}, env, instanceDir: dir, readFile: path => readFileSync(path, 'utf8') })
  const service = createService(config, silentLog)
  const error = await service.start().catch(each => each)
  await service.stop()
  return error
}

const files = `volume.files.backend = s3\nvolume.files.config = {"bucket": "b", "access_key_id": "AK", "secret_access_key": "\${S3_SECRET}"}`

it('config.ini is in force from each start on, and its secrets are nowhere to be read', async () => {
  const env = { S3_SECRET: 'hunter2;#"' }
  const first = await start(files, env)
  await first.call('POST', '/tenant', { id: 'acme' })
  expect((await first.call('GET', '/volume/files')).body.config).toEqual({
    bucket: 'b',
    access_key_id: '***',
    secret_access_key: '***',
  })
  await first.stop()

  const second = await start(
    `${files}\nvolume.mine.backend = local\nvolume.mine.config = {"path": "/srv"}\nvolume.mine.account_id = acme`,
    env,
  )
  expect((await second.call('GET', '/volumes')).body.volumes).toMatchObject([
    { name: 'files' },
    { name: 'mine', tenant_id: 'acme' },
  ])
  expect([...first.logs, ...second.logs].join('\n')).not.toContain('hunter2')
  await second.stop()

  expect(await failToStart(files)).toMatchObject({
    name: 'ConfigError',
    message: 'config.ini [volumes] volume.files.config needs the environment variable S3_SECRET, which is not set',
  })

  const third = await start('')
  expect((await third.call('GET', '/volumes')).body.volumes).toEqual([])
  await third.stop()
})
