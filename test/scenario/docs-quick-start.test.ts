/** docs/quick-start.md from its first command to its last, in one shell: what is answered is what stands there. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { isAsWritten, openDocsShell, stepsOf } from '../support/docs-shell.js'

const PAGE = 'docs/quick-start.md'

it('the quick start leads from nothing to a mail that was sent and reported', { timeout: 180_000 }, async () => {
  const steps = await stepsOf(PAGE)
  expect(steps.length).toBeGreaterThan(12)
  const shell = await openDocsShell()
  const [, app = ''] = /^```js\n([\s\S]*?)^```$/m.exec(await readFile(PAGE, 'utf8')) ?? []
  for (const step of steps) {
    if (step.commands.includes('node app.mjs')) await writeFile(join(shell.clone, 'app.mjs'), shell.adapted(app))
    await shell.follow(step)
  }
  const sentTo = shell.smtp.messages.map(({ to }) => to)
  expect(sentTo).toEqual([['me@example.com'], ['ada@example.com'], ['ada@example.com']])
  expect(await shell.run('mail-proxy list')).not.toContain('shop')
})

it('an answer that differs is noticed', () => {
  expect(isAsWritten('a 12 ms\nb\nc\nd\n', 'a 7 ms\n…\nd\n')).toBe(true)
  expect(isAsWritten('  0 ms  accepted\n  3 ms  pending: …\n  9 ms  sent\n', '0 ms  accepted\n   7 ms  sent\n')).toBe(
    true,
  )
  expect(isAsWritten('a 12 ms\nb\n', 'a 7 ms\n…\nd\n')).toBe(false)
  expect(isAsWritten('Error: no\na\n', 'a\n')).toBe(false)
  expect(isAsWritten('a\nmore\n', 'a\n')).toBe(false)
})
