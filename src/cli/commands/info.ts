/** `mail-proxy <instance> info`: what the instance is, where its things lie, and whether it may send. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { Config } from '../../config.js'
import { migrationStatus } from '../../db/migrate.js'
import { VERSION } from '../../lib/version.js'
import { releaseNeeded } from '../../queue/release-mark.js'
import { logPath } from '../background.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, showDatabase, withInstanceDatabase } from '../database.js'
import { errorLine } from '../errors.js'
import { tokenPath } from '../instance.js'
import { show } from '../output/show.js'
import { fields } from '../output/table.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

interface Info {
  readonly name: string
  readonly folder: string | null
  readonly database: string
  /** Where it serves, or would. */
  readonly url: string
  readonly running: boolean
  readonly pid: number | null
  readonly version: string
  readonly schema_version: number | null
  readonly schema_latest: number | null
  /** Why nothing is sent before `--release`; absent: nothing is in the way. */
  readonly release_needed?: string
  readonly problem?: string
  /** Paths of what is there; null: there is no such file. */
  readonly files: Readonly<Record<'config_ini' | 'key' | 'token' | 'log', string | null>>
}

export function addInfo(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('info')
    .description('name, address, process, versions, where its files lie, and whether it may send')
    .action(async (options: { json?: boolean }) => {
      const info = await gather(io, instance)
      show(io, options, info, () => asText(io, info))
    })
  withExamples(withJson(command), [`mail-proxy ${instance} info`, `mail-proxy ${instance} info --json`])
}

async function gather(io: CliIo, name: string): Promise<Info> {
  const { config } = settingsOfKnownInstance(io, name)
  const { host, port } = config.server
  const running = findProcess(io, config.instance.dir)
  return {
    name,
    folder: config.instance.dir,
    database: showDatabase(config),
    url:
      running !== null && running.url !== ''
        ? running.url
        : `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    running: running !== null,
    pid: running?.pid ?? null,
    version: VERSION,
    ...(await stateOf(config)),
    files: filesOf(config.instance.dir, io.env.GMP_CONFIG?.trim()),
  }
}

async function stateOf(
  config: Config,
): Promise<Pick<Info, 'schema_version' | 'schema_latest' | 'release_needed' | 'problem'>> {
  const unknown = { schema_version: null, schema_latest: null }
  if (!databaseMayExist(config)) return { ...unknown, problem: 'no database yet' }
  try {
    return await withInstanceDatabase(config, { exclusive: false }, async db => {
      const { current, latest } = await migrationStatus(db)
      const reason = current === 0 ? null : await releaseNeeded(db)
      return { schema_version: current, schema_latest: latest, ...(reason === null ? {} : { release_needed: reason }) }
    })
  } catch (error) {
    // The rest is worth showing without it.
    return { ...unknown, problem: errorLine(error).slice('Error: '.length) }
  }
}

function filesOf(dir: string | null, otherConfig = ''): Info['files'] {
  const there = (path: string | null) => (path !== null && existsSync(path) ? path : null)
  const inside = (name: string) => (dir === null ? null : there(join(dir, name)))
  return {
    config_ini: otherConfig === '' ? inside('config.ini') : there(otherConfig),
    key: inside('key'),
    token: dir === null ? null : there(tokenPath(dir)),
    log: dir === null ? null : there(logPath(dir)),
  }
}

function asText(io: CliIo, info: Info): string {
  const schema = info.schema_version === null ? info.problem : `${info.schema_version} of ${info.schema_latest}`
  const { config_ini: configIni, key, token, log } = info.files
  return fields(io, [
    ['name', info.name],
    ['folder', info.folder],
    ['database', info.database],
    ['url', info.url],
    ['running', info.running ? `yes, pid ${info.pid}` : 'no'],
    ['version', info.version],
    ['schema', schema],
    [
      'sending',
      info.release_needed === undefined
        ? undefined
        : `no: ${info.release_needed}. Look at what waits, then start once with --release`,
    ],
    ['config.ini', configIni],
    ['key', key],
    ['token', token],
    ['log', log],
  ])
}
