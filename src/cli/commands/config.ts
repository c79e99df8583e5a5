/** `mail-proxy <instance> config`: every setting, its value and where that comes from; `config check` judges them. */
import type { Command } from 'commander'
import { defaultAsText, SETTING_KEYS, SETTINGS, type Setting, type SettingKey } from '../../config-schema.js'
import type { LoadedConfig } from '../../load-config.js'
import { type Place, withExamples, withJson } from '../command.js'
import { showDatabase } from '../database.js'
import { show } from '../output/show.js'
import { table } from '../output/table.js'
import { counted, paint, printable } from '../output/text.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

interface Shown {
  readonly setting: string
  /** As it would be written; of a secret only that it is set. null: not set. */
  readonly value: string | null
  /** What holds while it is not set, in words. */
  readonly otherwise: string | null
  readonly source: string
  /** Where it stands, by name: `GMP_PORT`, `config.ini [server] port`, `--port`, `default`. */
  readonly from: string
  readonly secret: boolean
  readonly variables: readonly string[]
  readonly ini: string | null
  readonly flag: string | null
  readonly about: string
}

interface Options {
  readonly onlySet?: boolean
  readonly json?: boolean
}

export function addConfig(program: Command, place: Place): void {
  const config = program.command('config').description('what the instance is set to')
  addShow(config, place)
  addCheck(config, place)
}

function addShow(config: Command, place: Place): void {
  const { io, instance } = place
  const command = config
    .command('show', { isDefault: true })
    .description('every setting with its value and where it comes from; what `config` alone does')
    .option('--only-set', 'only those that have not their default')
    .action((options: Options) => {
      const loaded = settingsOfKnownInstance(io, instance)
      const all = [...SETTING_KEYS.map(key => shownSetting(key, loaded)), ...shownVolumes(loaded)]
      const settings = all.filter(each => !options.onlySet || each.source !== 'default')
      show(io, options, { settings, warnings: loaded.warnings }, () => textOf(place, settings, loaded))
    })
  withExamples(withJson(command), [`mail-proxy ${instance} config`, `mail-proxy ${instance} config show --only-set`])
}

/** What is wrong is told as a start would tell it: one line, exit 1. */
function addCheck(config: Command, { io, instance }: Place): void {
  const command = config
    .command('check')
    .description('whether a start would take this configuration; exit 1 and one line when not')
    .action(async (options: Options) => {
      const { config: read, warnings } = settingsOfKnownInstance(io, instance)
      // Loaded only here: they know every store.
      const [{ volumeProblem }, { readVolumes }] = await Promise.all([
        import('../../service/volume-problem.js'),
        import('../../volumes/seed.js'),
      ])
      const volumes = readVolumes({ volumeProblem }, { lines: read.volumes, variables: read.volumeVariables })
      show(io, options, { ok: true, volumes: volumes.length, warnings }, () => {
        const hints = warnings.map(each => `Warning: ${printable(each)}\n`).join('')
        const also = volumes.length === 0 ? '' : `, ${counted(volumes.length, 'volume')} in config.ini`
        return `${hints}the configuration of ${instance} can be used${also}\n`
      })
    })
  withExamples(withJson(command), [`mail-proxy ${instance} config check`])
}

function shownSetting(key: SettingKey, loaded: LoadedConfig): Shown {
  const setting: Setting = SETTINGS[key]
  const { source, place } = loaded.given.get(key) ?? { source: 'default', place: 'default' }
  return {
    setting: setting.ini === null ? (setting.flag ?? key) : `[${setting.ini[0]}] ${setting.ini[1]}`,
    value: valueInForce(key, setting, loaded),
    otherwise: defaultAsText(setting) === '' ? (setting.defaultText ?? null) : null,
    source,
    from: place,
    secret: setting.secret === true,
    variables: setting.env,
    ini: setting.ini === null ? null : `[${setting.ini[0]}] ${setting.ini[1]}`,
    flag: setting.flag ?? null,
    about: setting.about,
  }
}

function valueInForce(key: SettingKey, setting: Setting, { config, given }: LoadedConfig): string | null {
  if (key === 'database.url') return showDatabase(config)
  const written = given.get(key)
  if (setting.secret) return written === undefined ? null : 'set'
  if (written === undefined) return defaultAsText(setting) || null
  const [group = '', name = ''] = key.split('.')
  const value = (config as unknown as Record<string, Record<string, unknown>>)[group]?.[name]
  // In force is what was made of it, as a path or a yes; figures are kept in other units than they are written in.
  return typeof value === 'string' || typeof value === 'boolean' ? String(value) : written.text
}

/** The lines of [volumes] by name; what stands in them may be secret. */
function shownVolumes({ config }: LoadedConfig): Shown[] {
  return Object.keys(config.volumes).map(key => ({
    setting: `[volumes] ${key}`,
    value: 'set',
    otherwise: null,
    source: 'config.ini',
    from: `config.ini [volumes] ${key}`,
    secret: true,
    variables: [],
    ini: `[volumes] ${key}`,
    flag: null,
    about: 'an attachment store',
  }))
}

function textOf({ io, instance }: Place, settings: readonly Shown[], { config, warnings }: LoadedConfig): string {
  const listed = table(
    io,
    settings,
    [
      { title: 'SETTING', of: each => each.setting, whole: true },
      {
        title: 'VALUE',
        of: each => each.value ?? (each.otherwise === null ? 'not set' : `not set: ${each.otherwise}`),
        paint: (text, each) => (each.value === null ? paint(io, 'gray', text) : text),
      },
      {
        title: 'FROM',
        of: fromOf,
        whole: true,
        paint: (text, each) => (each.source === 'default' ? paint(io, 'gray', text) : text),
      },
    ],
    'every setting has its default',
  )
  const hints = warnings.map(each => `Warning: ${printable(each)}\n`).join('')
  const running = findProcess(io, config.instance.dir)
  if (running === null) return listed + hints
  return `${listed}${hints}\nThis is what a start from here would read; ${instance} (pid ${running.pid}) has what stood there when it began.\n`
}

/** The key stands beside it already. */
function fromOf({ from, source }: Shown): string {
  return source === 'config.ini' ? 'config.ini' : from
}
