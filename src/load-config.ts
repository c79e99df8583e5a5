/**
 * Makes the Config from its four sources: flag, environment, config.ini, default, in this order. Touches nothing but
 * what it is given. A wrong value stops the start with one line that names where it stands; an unknown variable only
 * warns, because the environment is not ours alone.
 */
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import type { Config } from './config.js'
import { type IniSections, readIni, shorten } from './config-ini.js'
import { unknownVariables } from './config-names.js'
import { INI_SECTIONS, SETTING_KEYS, SETTINGS, type Setting, type SettingKey } from './config-schema.js'
import { isPostgres } from './config-values.js'
import { closest } from './lib/closest.js'
import { ConfigError } from './lib/errors.js'

export type Environment = Readonly<Record<string, string | undefined>>
export type Source = 'flag' | 'environment' | 'config.ini' | 'default'

export interface ConfigInput {
  readonly flags: Readonly<Partial<Record<SettingKey, string>>>
  readonly env: Environment
  /** Text of the instance folder's config.ini; a file named by GMP_CONFIG takes its place. */
  readonly iniText?: string
  readonly instanceDir: string
  /**
   * True when nobody named the instance: the key and the token then stand beside a SQLite file given elsewhere, so
   * that a container which keeps only its data volume keeps them too.
   */
  readonly folderFollowsDatabase?: boolean
  readFile(path: string): string
  /** Where a link leads that stands for a SQLite file; absent: links are not followed. */
  followLinks?(path: string): string
}

export interface LoadedConfig {
  readonly config: Config
  readonly warnings: readonly string[]
  readonly sources: ReadonlyMap<SettingKey, Source>
  /** What was written, and where; a key that has its default is absent. Secrets are among them. */
  readonly given: ReadonlyMap<SettingKey, Given>
}

/** A wrong value on the command line: a mistake in usage. */
export class FlagError extends ConfigError {
  override name = 'FlagError'
}

/** Throws ConfigError, its message one line for a person; secrets are never in it. */
export function loadConfig(input: ConfigInput): LoadedConfig {
  const warnings = unknownVariables(input.env)
  const ini = readSections(input)
  const values = new Map<SettingKey, unknown>()
  const sources = new Map<SettingKey, Source>()
  const written = new Map<SettingKey, Given>()
  for (const key of SETTING_KEYS) {
    const setting: Setting = SETTINGS[key]
    const given = findGiven(key, setting, input, ini, warnings)
    if (given !== null) written.set(key, given)
    values.set(key, given === null ? setting.default : parseGiven(setting, given, input.instanceDir))
    sources.set(key, given?.source ?? 'default')
  }
  const config = build(values, input, ini, sources)
  checkTogether(config, warnings)
  return { config: freeze(config), warnings, sources, given: written }
}

export interface Given {
  readonly source: Source
  /** How the error line names the place: `--port`, `GMP_PORT`, `config.ini [server] port`. */
  readonly place: string
  readonly text: string
}

function findGiven(
  key: SettingKey,
  setting: Setting,
  { flags, env, readFile }: ConfigInput,
  ini: IniSections,
  warnings: string[],
): Given | null {
  const flag = flags[key]
  if (flag !== undefined) return { source: 'flag', place: setting.flag ?? key, text: flag.trim() }
  const inEnvironment = fromEnvironment(setting, env, readFile, warnings)
  if (inEnvironment !== null) return inEnvironment
  if (setting.ini === null) return null
  const [section, name] = setting.ini
  // An empty value is how a template says "not set".
  const text = ini.get(section)?.get(name)?.trim() ?? ''
  return text === '' ? null : { source: 'config.ini', place: `config.ini [${section}] ${name}`, text }
}

function fromEnvironment(
  setting: Setting,
  env: Environment,
  readFile: (path: string) => string,
  warnings: string[],
): Given | null {
  const found: Given[] = []
  for (const place of setting.env) {
    const text = env[place]?.trim() ?? ''
    const file = setting.secret ? (env[`${place}_FILE`]?.trim() ?? '') : ''
    if (text !== '' && file !== '') throw new ConfigError(`${place} and ${place}_FILE are both set; keep one of them`)
    if (file !== '')
      found.push({ source: 'environment', place: `${place}_FILE`, text: readSecret(place, file, readFile) })
    if (text === '') continue
    if (place === 'GMP_PORT' && /^(tcp|udp):\/\//.test(text)) {
      warnings.push('GMP_PORT was set by Kubernetes for a Service and is ignored; enableServiceLinks: false avoids it')
      continue
    }
    found.push({ source: 'environment', place, text })
  }
  const [first, second] = found
  if (first === undefined) return null
  if (second !== undefined && second.text !== first.text) {
    warnings.push(`${first.place} and ${second.place} differ; ${first.place} is used`)
  }
  return first
}

function readSecret(place: string, path: string, readFile: (path: string) => string): string {
  let text: string
  try {
    text = readFile(path).trim()
  } catch (cause) {
    throw new ConfigError(`${place}_FILE names ${shorten(path)}, which cannot be read (${reason(cause)})`, { cause })
  }
  if (text === '') throw new ConfigError(`${place}_FILE names ${shorten(path)}, which is empty`)
  return text
}

function parseGiven(setting: Setting, { source, place, text }: Given, instanceDir: string): unknown {
  const value = setting.kind.parse(text)
  if (value === undefined || text === '') {
    const shown = setting.secret ? 'has a wrong value' : `is "${shorten(text)}"`
    const sentence = `${place} ${shown}: it should be ${setting.kind.expects}`
    throw source === 'flag' ? new FlagError(sentence) : new ConfigError(sentence)
  }
  const relative = source === 'config.ini' && setting.kind.isPath && typeof value === 'string' && !isPostgres(value)
  return relative && !isAbsolute(value) ? join(instanceDir, value) : value
}

function readSections({ env, iniText, readFile }: ConfigInput): IniSections {
  const path = env.GMP_CONFIG?.trim() ?? ''
  let text = iniText ?? ''
  if (path !== '') {
    try {
      text = readFile(path)
    } catch (cause) {
      throw new ConfigError(`GMP_CONFIG names ${shorten(path)}, which cannot be read (${reason(cause)})`, { cause })
    }
  }
  const sections = readIni(text)
  refuseUnknown(sections)
  return sections
}

function refuseUnknown(sections: IniSections): void {
  const known = new Map<string, string[]>(INI_SECTIONS.map(section => [section, []]))
  for (const key of SETTING_KEYS) {
    const place = SETTINGS[key].ini
    if (place !== null) known.get(place[0])?.push(place[1])
  }
  for (const [section, entries] of sections) {
    const keys = known.get(section)
    if (keys === undefined) {
      const sentence = `config.ini [${shorten(section)}] is not a known section`
      throw new ConfigError(`${sentence}; ${suggest(closest(section, known.keys()), [...known.keys()])}`)
    }
    if (section === 'volumes') continue
    for (const key of entries.keys()) {
      if (keys.includes(key)) continue
      const elsewhere = [...known].find(([, others]) => others.includes(key))?.[0]
      const meant = elsewhere === undefined ? closest(key, keys) : `${key} in [${elsewhere}]`
      throw new ConfigError(`config.ini [${section}] ${shorten(key)} is not a known key; ${suggest(meant, keys)}`)
    }
  }
}

function suggest(meant: string | undefined, all: readonly string[]): string {
  return meant === undefined ? `known are ${all.join(', ')}` : `did you mean ${meant}?`
}

function build(
  values: ReadonlyMap<SettingKey, unknown>,
  input: ConfigInput,
  ini: IniSections,
  sources: ReadonlyMap<SettingKey, Source>,
): Config {
  const urlFrom = sources.get('database.url') ?? 'default'
  const groups: Record<string, Record<string, unknown>> = {}
  for (const [key, value] of values) {
    const [group, name] = key.split('.')
    if (group === undefined || name === undefined) continue
    groups[group] = { ...groups[group], [name]: value }
  }
  const given = values.get('database.url') as string
  const named = urlFrom === 'default' ? join(input.instanceDir, 'mail_service.db') : given
  const dialect = isPostgres(named) ? 'postgres' : 'sqlite'
  // Two names of one file must find one lock beside it, one log and one doubt journal.
  const url = dialect === 'sqlite' ? (input.followLinks?.(named) ?? named) : named
  const follows = input.folderFollowsDatabase === true && urlFrom !== 'default' && dialect === 'sqlite'
  groups.database = { ...groups.database, url, dialect }
  groups.server = { ...groups.server, portMayMove: sources.get('server.port') === 'default' }
  groups.instance = { name: basename(input.instanceDir), dir: follows ? dirname(resolve(named)) : input.instanceDir }
  const volumes = Object.fromEntries(ini.get('volumes') ?? [])
  const volumeVariables = variablesIn(Object.values(volumes), input.env)
  // The table's type covers every value of Config and those made here complete it.
  return { ...groups, encryptionKeys: values.get('encryptionKeys'), volumes, volumeVariables } as unknown as Config
}

/** Nothing but the variables that the texts name: the rest of the environment is nobody's business. */
function variablesIn(texts: readonly string[], env: Environment): Record<string, string> {
  const names = texts.flatMap(text => [...text.matchAll(/\$\{(\w+)\}/g)].map(match => match[1]!))
  const variables: Record<string, string> = {}
  for (const name of names) if (Object.hasOwn(env, name) && env[name]) variables[name] = env[name]
  return variables
}

function checkTogether({ server, database, smtp }: Config, warnings: string[]): void {
  if (database.dialect === 'sqlite' && server.role !== 'all') {
    throw new ConfigError(`--role ${server.role} needs PostgreSQL: a SQLite file is owned by one process, role all`)
  }
  if (server.insecureNoAuth && !isLoopback(server.host)) {
    throw new FlagError(
      `--insecure-no-auth only goes with a loopback address, not ${server.host}: add --host 127.0.0.1`,
    )
  }
  if (server.insecureNoAuth) {
    warnings.push('there is no authentication: every process on this machine has full access')
  }
  if (smtp.probeFirstMs > smtp.probeMaxMs) {
    throw new ConfigError('GMP_PROBE_FIRST is longer than GMP_PROBE_MAX: it should be at most as long')
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function reason(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string }
  return shorten(code ?? message ?? 'unknown error')
}

/** Deep, but for buffers: JavaScript cannot freeze their bytes. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  for (const each of Object.values(value)) freeze(each)
  return Object.freeze(value)
}
