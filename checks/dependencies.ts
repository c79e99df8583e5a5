/**
 * What the service brings along of others: each production dependency has a licence that may be shipped, and none is known to be
 * vulnerable. `npm run check:dependencies`; ends with 1 when something is wrong. Licences need no network. A registry that
 * does not answer about vulnerabilities is said aloud and is no failure.
 */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** They ask for no more than that their text goes along. */
export const ALLOWED: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
  'MIT-0',
])

interface Locked {
  readonly version?: string
  readonly license?: string
  /** Not installed with the service. */
  readonly dev?: boolean
}

/** Sentences about what may not be shipped. `dir` has package.json, the lock file and what was installed by it. */
export function licenceProblems(dir: string): { readonly checked: number; readonly problems: readonly string[] } {
  const { packages } = JSON.parse(readFileSync(join(dir, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }
  const shipped = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true)
  const problems = shipped.flatMap(([path, { version, license }]) => {
    const name = `${path.replace(/^.*node_modules\//, '')} ${version}`
    const installed = installedLicence(join(dir, path, 'package.json'))
    if (installed !== undefined && installed !== license) {
      return [`${name}: the lock file says ${license ?? 'no licence'}, the package itself ${installed ?? 'none'}`]
    }
    return isAllowed(license ?? '') ? [] : [`${name}: ${license ?? 'no licence'} is not among those allowed`]
  })
  return { checked: shipped.length, problems }
}

/** An SPDX expression: of alternatives one will do, of what belongs together all. */
export function isAllowed(expression: string): boolean {
  const words = expression.replace(/[()]/g, ' ').trim().split(/\s+/)
  // Both at once could mean anything without their brackets.
  if (words.includes('OR') && words.includes('AND')) return false
  if (words.includes('OR')) return words.some(word => ALLOWED.has(word))
  return words.every(word => word === 'AND' || ALLOWED.has(word))
}

/** undefined: it is not installed, as what is for another platform. null: the package names none. */
function installedLicence(path: string): string | null | undefined {
  if (!existsSync(path)) return undefined
  const { license } = JSON.parse(readFileSync(path, 'utf8')) as { license?: string | { type?: string } }
  return typeof license === 'object' ? (license.type ?? null) : (license ?? null)
}

export type Vulnerabilities =
  | { readonly kind: 'known'; readonly bad: readonly string[]; readonly lesser: number }
  | { readonly kind: 'unknown'; readonly why: string }

/** Of the answer of `npm audit --json`. Those rated high or critical are bad. */
export function readAudit(text: string): Vulnerabilities {
  let answer: {
    message?: string
    error?: { summary?: string }
    vulnerabilities?: Record<string, { severity: string; range?: string }>
  }
  try {
    answer = JSON.parse(text)
  } catch {
    return { kind: 'unknown', why: 'npm audit answered with something that is not JSON' }
  }
  const { vulnerabilities } = answer
  if (vulnerabilities === undefined) {
    return { kind: 'unknown', why: answer.message ?? answer.error?.summary ?? 'npm audit gave no reason' }
  }
  const all = Object.entries(vulnerabilities)
  const bad = all.filter(([, { severity }]) => severity === 'high' || severity === 'critical')
  return {
    kind: 'known',
    bad: bad.map(([name, { severity, range }]) => `${name} ${range ?? ''}: known vulnerability, ${severity}`),
    lesser: all.length - bad.length,
  }
}

/** Ends with 1 when it finds something, and when it could not ask. */
function audit(dir: string): Promise<string> {
  return new Promise(done => {
    const options = { cwd: dir, timeout: 60_000, maxBuffer: 64 * 1024 * 1024 }
    execFile('npm', ['audit', '--omit=dev', '--json'], options, (_, stdout) => done(stdout))
  })
}

async function main(dir: string): Promise<void> {
  const { checked, problems } = licenceProblems(dir)
  console.log(`licences: ${checked} production dependencies, ${problems.length} not allowed`)
  const found = readAudit(await audit(dir))
  if (found.kind === 'unknown') console.log(`vulnerabilities: NOT CHECKED, the registry did not answer: ${found.why}`)
  else console.log(`vulnerabilities: ${found.bad.length} high or critical, ${found.lesser} lesser`)
  const bad = [...problems, ...(found.kind === 'known' ? found.bad : [])]
  for (const problem of bad) console.error(`  ${problem}`)
  if (bad.length > 0) process.exitCode = 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.cwd())
