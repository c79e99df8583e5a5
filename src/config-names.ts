/** Names that nobody reads: which of them look like a mistake, and what was probably meant. */
import { OTHER_VARIABLES, RETIRED_VARIABLES, SETTING_KEYS, SETTINGS } from './config-schema.js'
import { closest } from './lib/closest.js'

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
