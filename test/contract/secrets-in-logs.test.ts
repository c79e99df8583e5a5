/** The search of the whole run's output for secrets (test/support/output.ts) finds what it is there for. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { learnSecrets } from '../support/output.js'
import { runCommand, tempDir } from '../support/process.js'
import { opened } from '../support/scene.js'
import { findSecrets, TEST_KEY, testSecret } from '../support/secrets.js'
import { silentLog } from '../support/silent-log.js'

/** What this worker keeps from now on, for other files ran in it before. */
function keptFromNow(): (kind: 'output' | 'secrets') => string {
  const read = (kind: string) => {
    const path = join(process.env.GMP_TEST_OUTPUT!, `${kind}-${process.pid}`)
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }
  const before = { output: read('output').length, secrets: read('secrets').length }
  return kind => read(kind).slice(before[kind])
}

async function hitsIn(texts: readonly string[], secrets: readonly string[] = []): Promise<string[]> {
  const { dir } = await opened(tempDir(), each => each.remove())
  const lines = (each: readonly unknown[]) => each.map(one => `${JSON.stringify(one)}\n`).join('')
  writeFileSync(join(dir, 'output-1'), lines(texts.map(text => ({ test: 'a > b', text }))))
  writeFileSync(join(dir, 'secrets-2'), lines(secrets))
  return findSecrets(dir).map(({ text }) => text)
}

it('a marked secret is found as it is, in a URL and in base64 wherever it begins', async () => {
  const secret = testSecret('one')
  const texts = [
    `INFO ${secret}`,
    `postgresql://user:${encodeURIComponent(secret)}@host/db`,
    ...['', 'u', 'us', 'user:'].map(before => `Basic ${Buffer.from(`${before}${secret}`).toString('base64')}`),
    `key ${TEST_KEY}`,
    `key ${Buffer.from(TEST_KEY, 'base64').toString('base64url')}`,
  ]
  expect(await hitsIn([...texts, 'INFO nothing of it', Buffer.from('nothing of it').toString('base64')])).toEqual(texts)
})

it('a secret that the tests gave the product is found too, with whatever stands in it', async () => {
  const secrets = ['pa$$.w(o)rd/ü', 'hunter2-of-ada']
  const texts = [`AUTH ${Buffer.from(`\0ada\0${secrets[1]}`).toString('base64')}`, `x${secrets[0]}x`, 'hunter2-of-ad']
  expect(await hitsIn(texts, secrets)).toEqual(texts.slice(0, 2))
})

it('what is logged and what a process writes is kept, and the values of secret fields are', async () => {
  const kept = keptFromNow()
  silentLog.debug('one line of the log', { account_id: 'main', password: 'masked by its name' })
  expect(kept('output')).toContain('one line of the log')
  expect(kept('output')).not.toContain('masked by its name')
  const { dir } = await opened(tempDir(), each => each.remove())
  const { code } = await runCommand({
    dir,
    args: ['serve', '--no-such-option'],
    env: { GMP_API_TOKEN: 'learned-from-env' },
  })
  expect([code, kept('output').includes('no-such-option')]).toEqual([2, true])
  learnSecrets({
    client_auth: { method: 'bearer', token: 'learned-token' },
    signing_secrets: ['learned-list'],
    q: 'shown',
  })
  learnSecrets({
    url: 'postgresql://ada:learned-url@host/x',
    oauth2: { token_url: 'https://shown.example', pass: 'short' },
  })
  const learned = ['learned-from-env', 'learned-token', 'learned-list', 'learned-url']
  expect(learned.filter(each => !kept('secrets').includes(`"${each}"`))).toEqual([])
  expect(kept('secrets')).not.toMatch(/shown|bearer|short/)
})
