/** Names that nobody reads: which of them look like a mistake, and what was probably meant. */
import { OTHER_VARIABLES, RETIRED_VARIABLES, SETTING_KEYS, SETTINGS } from './config-schema.js'

/** One warning for each GMP_* variable that has no effect. */
export function unknownVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = knownVariables()
  const warnings: string[] = []
  for (const name of Object.keys(env)) {
    if (!name.startsWith('GMP_') || known.has(name) || SERVICE_LINK.test(name)) continue
    const retired = Object.hasOwn(RETIRED_VARIABLES, name) ? RETIRED_VARIABLES[name] : undefined
    if (retired !== undefined) {
      warnings.push(`${name} is no longer read: ${retired}`)
      continue
    }
    const meant = closest(name, known)
    warnings.push(`${name} is not known and has no effect${meant === undefined ? '' : `; did you mean ${meant}?`}`)
  }
  return warnings
}

/** The candidate that a typing error away is the name; undefined when none is near. */
export function closest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.max(2, Math.floor(name.length / 4)) + 1
  // The length bound keeps the quadratic distance cheap on a hostile name.
  if (name.length > 80) return undefined
  for (const candidate of candidates) {
    const edits = distance(name.toLowerCase(), candidate.toLowerCase())
    if (edits < least) {
      best = candidate
      least = edits
    }
  }
  return best
}

// Kubernetes gives every pod variables about a Service named "gmp" or "gmp-…"; they are no one's mistake.
const SERVICE_LINK = /^GMP_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)$/

function knownVariables(): Set<string> {
  const known = new Set(Object.keys(OTHER_VARIABLES))
  for (const key of SETTING_KEYS) {
    const { env, secret } = SETTINGS[key]
    for (const name of env) {
      known.add(name)
      if (secret) known.add(`${name}_FILE`)
    }
  }
  return known
}

/** Levenshtein's distance, where two neighbours that changed places count as one edit. */
function distance(a: string, b: string): number {
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1)
      row.push(cost)
    }
    before = above
    above = row
  }
  return above[b.length]!
}
