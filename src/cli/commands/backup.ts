/** `mail-proxy <instance> backup [file]`: one file with all it takes to bring the instance back, while it runs. */
import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { FOLDER_FILES, type FolderFile, type FolderFiles } from '../../backup/file.js'
import { type Taken, takeBackup } from '../../backup/take.js'
import type { Config } from '../../config.js'
import { makePrivateDirectory, readIfThere } from '../../lib/private-file.js'
import { VERSION } from '../../lib/version.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, showDatabase } from '../database.js'
import { CliError } from '../errors.js'
import { show } from '../output/show.js'
import { settingsOfKnownInstance } from '../settings.js'

interface BackupOptions {
  readonly withoutKey?: boolean
  readonly json?: boolean
}

export function addBackup(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('backup')
    .argument('[file]', 'a new file, or a directory; without it the folder `backups` of the instance')
    .description('back up the SQLite database, the key and config.ini into one file, while the service runs')
    .option('--without-key', 'the database alone: no key, no token, no config.ini')
    .action(async (file: string | undefined, options: BackupOptions) => {
      const { config, sources } = settingsOfKnownInstance(io, instance)
      const { dir } = config.instance
      if (dir === null) throw new CliError('the instance has no folder')
      const now = new Date()
      if (config.database.dialect === 'postgres')
        throw new CliError(postgresWords(config, nameOf(instance, now, 'dump')))
      if (!databaseMayExist(config)) throw new CliError('there is no database yet')
      const keySource = sources.get('encryptionKeys') ?? 'default'
      const files = options.withoutKey
        ? {}
        : filesOf(dir, { ownKey: keySource === 'default', ownConfig: !io.env.GMP_CONFIG })
      const taken = await takeBackup(
        config.database.url,
        targetOf(file, dir, nameOf(instance, now, 'backup')),
        { manifest: { format: 1, made_at: now.toISOString(), version: VERSION, instance }, files },
        { reserveBytes: config.queue.minFreeMb * 1024 * 1024 },
      )
      const holds = FOLDER_FILES.filter(name => files[name] !== undefined)
      const answer = { ...taken, made_at: now.toISOString(), holds }
      show(io, options, answer, () => asText(taken, holds, keySource))
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} backup`,
    `mail-proxy ${instance} backup /mnt/backups/ --without-key`,
  ])
}

/** What the configuration puts in the place of a file, that file is not taken for: it may be an old one. */
function filesOf(dir: string, { ownKey, ownConfig }: { ownKey: boolean; ownConfig: boolean }): FolderFiles {
  const wanted = FOLDER_FILES.filter(name => (name !== 'key' || ownKey) && (name !== 'config.ini' || ownConfig))
  return Object.fromEntries(
    wanted.map(name => [name, readIfThere(join(dir, name))]).filter(([, content]) => content !== null),
  )
}

/** `shop-20261126T140000Z.backup` */
function nameOf(instance: string, now: Date, ending: string): string {
  return `${instance}-${now.toISOString().replace(/[-:]|\.\d+/g, '')}.${ending}`
}

function targetOf(file: string | undefined, dir: string, name: string): string {
  if (file === undefined) {
    makePrivateDirectory(join(dir, 'backups'))
    return join(dir, 'backups', name)
  }
  return existsSync(file) && statSync(file).isDirectory() ? resolve(file, name) : resolve(file)
}

function asText(taken: Taken, holds: readonly FolderFile[], keySource: string): string {
  const lines = [
    `${taken.file}, ${size(taken.size_bytes)}, checked`,
    `  ${taken.messages} messages, of which ${taken.waiting} wait and ${taken.in_flight} are being sent`,
  ]
  if (holds.length > 0) lines.push(`  with ${holds.join(', ')}`)
  if (holds.includes('key') || (keySource === 'config.ini' && holds.includes('config.ini'))) {
    lines.push(
      '  It holds the key that opens the stored passwords: who has this file has them. --without-key leaves it out',
    )
  } else if (keySource !== 'default') {
    lines.push(
      '  Without the key, which the configuration gives (GMP_ENCRYPTION_KEY): keep that too, or nothing of this starts',
    )
  } else {
    lines.push('  Without the key: keep the file `key` of the instance folder too, or nothing of this starts')
  }
  return `${lines.join('\n')}\n`
}

function size(bytes: number): string {
  return bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`
}

/** The password stays out of it: it would stand in the list of processes. */
function postgresWords(config: Config, name: string): string {
  const url = new URL(showDatabase(config))
  url.password = ''
  return `backup is for SQLite. PostgreSQL has its own: pg_dump --format=custom --no-unlogged-table-data --file=${name} '${url}' (password by PGPASSWORD or ~/.pgpass), and the key and config.ini belong with it; see docs/backup.md`
}
