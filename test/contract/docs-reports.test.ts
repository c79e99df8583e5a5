/** docs/reports.md: its entries are those the service builds, and its two ways to verify a signature work. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { deferredEntry, errorEntry, inDoubtEntry, sentEntry } from '../../src/queue/report-entry.js'
import { judgeAnswer } from '../../src/reports/acknowledge.js'
import { signWebhook } from '../../src/reports/sign.js'

const document = readFileSync('docs/reports.md', 'utf8')
const blocks = (kind: string) =>
  [...document.matchAll(new RegExp(`^\`\`\`${kind}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(match => match[1]!)

const dir = mkdtempSync(join(tmpdir(), 'gmp-docs-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe('docs/reports.md', () => {
  it('shows entries as they are built', () => {
    const at = 1795181935_000
    const base = (n: number) => {
      return {
        id: `order-${n}`,
        tenantId: 'acme',
        accountId: 'main',
        priority: 2 as const,
        attempts: 1,
        recipients: null,
      }
    }
    const recipients = [
      { address: 'ada@example.net', status: 'accepted' as const, code: '250', reply: '250 2.0.0 Queued' },
      { address: 'nobody@example.net', status: 'refused' as const, code: '550', reply: '550 5.1.1 No such user' },
    ]
    expect(JSON.parse(blocks('json')[0]!)).toEqual({
      delivery_report: [
        sentEntry(base(4711), at),
        errorEntry(base(4712), at, '550 5.1.1 No such user', '550'),
        deferredEntry(base(4713), at + 60_000, '451 4.7.1 Greylisted, try again'),
        inDoubtEntry(base(4714), at),
        sentEntry({ ...base(4715), recipients }, at),
      ],
    })
  })

  it('shows an answer that means what is written beside it', () => {
    const now = 1795181935_000
    const asked = judgeAnswer({ status: 200, body: blocks('json')[1]! }, now)
    expect(asked).toEqual({
      acknowledged: true,
      again: new Set(['order-4712']),
      wantsSync: false,
      quietUntil: now + 3_600_000,
    })
    expect(judgeAnswer({ status: 200, body: '{}' }, now)).toMatchObject({ acknowledged: true, again: new Set() })
  })

  const body = '{"delivery_report":[{"id":"è"}]}'
  const [old, fresh] = ['a', 'b'].map(letter => `whsec_${Buffer.from(letter.repeat(32)).toString('base64')}`) as [
    string,
    string,
  ]
  const now = Date.now()
  const cases = [
    ['by one secret', signWebhook([old], 'msg_1', now, body), body, [old], true],
    ['by both during a rotation', signWebhook([fresh, old], 'msg_1', now, body), body, [old], true],
    ['known by two secrets', signWebhook([old], 'msg_1', now, body), body, [fresh, old], true],
    ['by another secret', signWebhook([old], 'msg_1', now, body), body, [fresh], false],
    ['of another body', signWebhook([old], 'msg_1', now, body), `${body} `, [old], false],
    ['an hour old', signWebhook([old], 'msg_1', now - 3_600_000, body), body, [old], false],
    ['with another id', { ...signWebhook([old], 'msg_1', now, body), 'webhook-id': 'msg_2' }, body, [old], false],
    ['missing', {}, body, [old], false],
  ] as const

  it('verifies signatures in TypeScript', async () => {
    const path = join(dir, 'verify.ts')
    writeFileSync(path, blocks('ts')[0]!)
    const { isGenuine } = await import(/* @vite-ignore */ pathToFileURL(path).href)
    for (const [what, headers, given, secrets, expected] of cases) {
      expect(isGenuine(new Headers(Object.entries(headers)), given, secrets), what).toBe(expected)
    }
  })

  it('verifies signatures in Python', async context => {
    const run = promisify(execFile)
    const hasPython = await run('python3', ['--version']).then(
      () => true,
      () => false,
    )
    if (!hasPython) return context.skip()
    const path = join(dir, 'verify.py')
    const asked = JSON.stringify(cases.map(([, headers, given, secrets]) => [headers, given, secrets]))
    const main = `
import json
import sys
print(json.dumps([is_genuine(h, b.encode(), s) for h, b, s in json.loads(sys.argv[1])]))
`
    writeFileSync(path, blocks('python')[0]! + main)
    const { stdout } = await run('python3', [path, asked])
    expect(JSON.parse(stdout)).toEqual(cases.map(([, , , , expected]) => expected))
  })
})
