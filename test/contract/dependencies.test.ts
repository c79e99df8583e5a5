/** `npm run check:dependencies`: what is shipped may be shipped, and a check that could not be made says so. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { isAllowed, licenceProblems, readAudit } from '../../checks/dependencies.js'
import { tempDir } from '../support/process.js'

type Locked = Readonly<Record<string, { version?: string; license?: string; dev?: boolean }>>

/** A folder with this lock file, and packages installed that name these licences. */
async function project(packages: Locked, installed: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const { dir, remove } = await tempDir()
  onTestFinished(remove)
  writeFileSync(join(dir, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...packages } }))
  for (const [path, license] of Object.entries(installed)) {
    mkdirSync(join(dir, path), { recursive: true })
    writeFileSync(join(dir, path, 'package.json'), JSON.stringify({ license }))
  }
  return dir
}

it('versions of dependencies are exact', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  const versions = Object.values<string>({ ...dependencies, ...devDependencies })
  expect(versions.length).toBeGreaterThan(30)
  expect(versions.filter(version => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([])
})

describe('licences', () => {
  it('of all that is installed with the service are allowed', () => {
    const { checked, problems } = licenceProblems('.')
    expect(problems).toEqual([])
    expect(checked).toBeGreaterThan(100)
  })

  it('that are not allowed, or missing, are told by name, of development dependencies nothing', async () => {
    const dir = await project({
      'node_modules/good': { version: '1.0.0', license: 'MIT' },
      'node_modules/tool': { version: '1.0.0', license: 'GPL-3.0-only', dev: true },
      'node_modules/good/node_modules/@x/bad': { version: '2.0.0', license: 'AGPL-3.0-or-later' },
      'node_modules/silent': { version: '3.0.0' },
    })
    expect(licenceProblems(dir)).toEqual({
      checked: 3,
      problems: [
        '@x/bad 2.0.0: AGPL-3.0-or-later is not among those allowed',
        'silent 3.0.0: no licence is not among those allowed',
      ],
    })
  })

  it('are those of the package itself, whatever the lock file says', async () => {
    const packages = { version: '1.0.0', license: 'MIT' }
    const dir = await project(
      { 'node_modules/a': packages, 'node_modules/b': packages, 'node_modules/c': packages },
      { 'node_modules/a': 'GPL-3.0-only', 'node_modules/b': undefined, 'node_modules/c': { type: 'MIT' } },
    )
    expect(licenceProblems(dir).problems).toEqual([
      'a 1.0.0: the lock file says MIT, the package itself GPL-3.0-only',
      'b 1.0.0: the lock file says MIT, the package itself none',
    ])
  })

  it.each([
    ['MIT', true],
    ['(MIT OR GPL-3.0-only)', true],
    ['MIT AND Apache-2.0', true],
    ['MIT AND GPL-3.0-only', false],
    ['MIT OR (Apache-2.0 AND GPL-3.0-only)', false],
    ['SEE LICENSE IN FILE', false],
    ['UNLICENSED', false],
    ['', false],
  ])('%s: %s', (expression, allowed) => {
    expect(isAllowed(expression)).toBe(allowed)
  })
})

describe('known vulnerabilities', () => {
  const answer = (severity: string) =>
    JSON.stringify({ auditReportVersion: 2, vulnerabilities: { left: { severity, range: '<1.2.3' } } })

  it('high and critical ones are bad, lesser ones are counted', () => {
    for (const severity of ['high', 'critical']) {
      const bad = [`left <1.2.3: known vulnerability, ${severity}`]
      expect(readAudit(answer(severity))).toEqual({ kind: 'known', bad, lesser: 0 })
    }
    expect(readAudit(answer('moderate'))).toEqual({ kind: 'known', bad: [], lesser: 1 })
    expect(readAudit('{"vulnerabilities":{}}')).toEqual({ kind: 'known', bad: [], lesser: 0 })
  })

  it('a registry that does not answer is no all-clear', () => {
    const refused = '{"message":"405 Method Not Allowed","error":{"summary":""}}'
    expect(readAudit(refused)).toEqual({ kind: 'unknown', why: '405 Method Not Allowed' })
    expect(readAudit('{"error":{"summary":"no network"}}')).toEqual({ kind: 'unknown', why: 'no network' })
    expect(readAudit('')).toMatchObject({ kind: 'unknown' })
  })
})
