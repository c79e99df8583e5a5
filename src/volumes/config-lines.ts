/**
 * Reads the lines of config.ini's [volumes]: `volume.NAME.backend`, `.config` (JSON), `.account_id`. `${NAME}` becomes
 * the environment's value after the JSON was parsed, so a secret may hold any character. Pure; what is wrong is a
 * ConfigError of one line that names the key and never tells a value.
 */
import { ConfigError } from '../lib/errors.js'
import { problemOfName } from './name.js'

export interface ConfiguredVolume {
  readonly name: string
  /** As written; whether there is such a backend is not known here. */
  readonly backend: string
  readonly config: Readonly<Record<string, unknown>>
  /** null: shared by all tenants. */
  readonly accountId: string | null
}

/** In the order of their first lines. */
export function readVolumeLines(
  lines: Readonly<Record<string, string>>,
  variables: Readonly<Record<string, string>>,
): ConfiguredVolume[] {
  const volumes = new Map<string, Partial<Record<Property, string>>>()
  for (const [key, text] of Object.entries(lines)) {
    const [, name, property] = /^volume\.(.+)\.(backend|config|account_id)$/.exec(key) ?? []
    if (name === undefined) {
      throw wrong(printable(key), 'is not a known key: it should be volume.NAME.backend, .config or .account_id')
    }
    const problem = problemOfName(name)
    if (problem !== null) throw wrong(printable(key), `has a wrong name: ${problem}`)
    volumes.set(name, { ...volumes.get(name), [property as Property]: text.trim() })
  }
  return [...volumes].map(([name, texts]) => readOne(name, texts, variables))
}

/** The error of one key, also for what is found later. */
export function wrong(key: string, sentence: string): ConfigError {
  return new ConfigError(`config.ini [volumes] ${key} ${sentence}`)
}

type Property = 'backend' | 'config' | 'account_id'

function readOne(
  name: string,
  texts: Partial<Record<Property, string>>,
  variables: Readonly<Record<string, string>>,
): ConfiguredVolume {
  const key = (property: Property) => `volume.${name}.${property}`
  const text = (property: Property) => substitute(texts[property] ?? '', key(property), variables)
  const backend = text('backend')
  if (backend === '') throw wrong(key('backend'), 'is missing')
  // Empty would share with all tenants what was meant for one.
  if (texts.account_id !== undefined && text('account_id') === '') {
    throw wrong(key('account_id'), 'is empty: leave the line out for a volume that all tenants share')
  }
  return {
    name,
    backend,
    config: readConfig(texts.config ?? '', key('config'), variables),
    accountId: texts.account_id === undefined ? null : text('account_id'),
  }
}

function readConfig(text: string, key: string, variables: Readonly<Record<string, string>>): Record<string, unknown> {
  if (text === '') return {}
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    // The parser's words quote the text, and the text may hold a password.
    throw wrong(key, 'is not valid JSON: it should be like {"bucket": "files"}')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw wrong(key, 'should be a JSON object, like {"bucket": "files"}')
  }
  return substituteDeep(parsed, key, variables) as Record<string, unknown>
}

function substituteDeep(value: unknown, key: string, variables: Readonly<Record<string, string>>): unknown {
  if (typeof value === 'string') return substitute(value, key, variables)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(each => substituteDeep(each, key, variables))
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, substituteDeep(each, key, variables)] as const),
  )
}

function substitute(text: string, key: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(/\$\{([^}]*)(\}?)/g, (_, name: string, end: string) => {
    if (end === '' || !/^\w+$/.test(name)) throw wrong(key, `has a \${…} that names no environment variable`)
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined
    if (value === undefined) throw wrong(key, `needs the environment variable ${name}, which is not set`)
    return value
  })
}

function printable(text: string): string {
  const visible = JSON.stringify(text).slice(1, -1)
  return visible.length > 80 ? `${visible.slice(0, 77)}…` : visible
}
