/** `mail-proxy <instance> info`: what and where the instance is. */
import type { Command } from 'commander'
import { migrationStatus } from '../../db/migrate.js'
import { VERSION } from '../../lib/version.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, showDatabase, withInstanceDatabase } from '../database.js'
import { errorLine } from '../errors.js'
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
  readonly problem?: string
}

export function addInfo(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('info')
    .description('name, folder, database, address, process, versions')
    .action(async (options: { json?: boolean }) => {
      const info = await gather(io, instance)
      io.out(options.json ? `${JSON.stringify(info, null, 2)}\n` : asText(info))
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
    url: running !== null ? running.url : `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    running: running !== null,
    pid: running?.pid ?? null,
    version: VERSION,
    ...(await schemaOf(config)),
  }
}

async function schemaOf(
  config: Parameters<typeof databaseMayExist>[0],
): Promise<Pick<Info, 'schema_version' | 'schema_latest' | 'problem'>> {
  if (!databaseMayExist(config)) return { schema_version: null, schema_latest: null, problem: 'no database yet' }
  try {
    const { current, latest } = await withInstanceDatabase(config, { exclusive: false }, migrationStatus)
    return { schema_version: current, schema_latest: latest }
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
  ]
  return rows.map(([label = '', value]) => `${label.padEnd(10)}${value}\n`).join('')
}
