/** `mail-proxy <instance> info`: what and where the instance is. */
import type { Command } from 'commander'
import { migrationStatus } from '../../db/migrate.js'
import { VERSION } from '../../lib/version.js'
import { releaseNeeded } from '../../queue/release-mark.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, showDatabase, withInstanceDatabase } from '../database.js'
import { errorLine } from '../errors.js'
import { readRunning } from '../instance.js'
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
}

export function addInfo(program: Command, io: CliIo, instance: string): void {
  program
    .command('info')
    .description('name, folder, database, address, process, versions')
    .option('--json', 'answer as JSON')
    .action(async (options: { json?: boolean }) => {
      const info = await gather(io, instance)
      io.out(options.json ? `${JSON.stringify(info, null, 2)}\n` : asText(info))
    })
}

async function gather(io: CliIo, name: string): Promise<Info> {
  const { config } = settingsOfKnownInstance(io, name)
  const { host, port } = config.server
  const noted = config.instance.dir === null ? null : readRunning(config.instance.dir)
  const running = noted !== null && io.isAlive(noted.pid)
  return {
    name,
    folder: config.instance.dir,
    database: showDatabase(config),
    url: running ? noted.url : `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    running,
    pid: running ? noted.pid : null,
    version: VERSION,
    ...(await schemaOf(config)),
  }
}

async function schemaOf(
  config: Parameters<typeof databaseMayExist>[0],
): Promise<Pick<Info, 'schema_version' | 'schema_latest' | 'release_needed' | 'problem'>> {
  if (!databaseMayExist(config)) return { schema_version: null, schema_latest: null, problem: 'no database yet' }
  try {
    return await withInstanceDatabase(config, { exclusive: false }, async db => {
      const { current, latest } = await migrationStatus(db)
      const reason = current === 0 ? null : await releaseNeeded(db)
      return { schema_version: current, schema_latest: latest, ...(reason === null ? {} : { release_needed: reason }) }
    })
  } catch (error) {
    // The rest is worth showing without it.
    return { schema_version: null, schema_latest: null, problem: errorLine(error).slice('Error: '.length) }
  }
}

function asText(info: Info): string {
  const schema = info.schema_version === null ? info.problem : `${info.schema_version} of ${info.schema_latest}`
  const rows = [
    ['name', info.name],
    ['folder', info.folder ?? '-'],
    ['database', info.database],
    ['url', info.url],
    ['running', info.running ? `yes, pid ${info.pid}` : 'no'],
    ['version', info.version],
    ['schema', schema ?? '-'],
    ...(info.release_needed === undefined
      ? []
      : [['sending', `no: ${info.release_needed}. Look at what waits, then start once with --release`]]),
  ]
  return rows.map(([label = '', value]) => `${label.padEnd(10)}${value}\n`).join('')
}
