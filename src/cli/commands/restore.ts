/** `mail-proxy <instance> restore <file>`: brings a backup back; nothing is sent from it before `--release`. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { type Restored, readBackup, restoreBackup } from '../../backup/restore.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { CliError } from '../errors.js'
import { DEFAULT_INSTANCE } from '../instance.js'
import { show } from '../output/show.js'
import { settingsOfInstance } from '../settings.js'

interface RestoreOptions {
  readonly force?: boolean
  readonly json?: boolean
}

export function addRestore(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('restore')
    .argument('<file>', 'what `backup` made')
    .description('bring a backup back as this instance, which must not run; a new name makes a new instance')
    .option('--force', 'replace the database that is there; it is kept aside')
    .action(async (given: string, options: RestoreOptions) => {
      const file = resolve(given)
      const { files } = await readBackup(file)
      // As a start after this will see them: where the folder has no config.ini, the backup's will be there.
      const { config } = settingsOfInstance(io, instance, {}, files['config.ini'])
      const { database, encryptionKeys, instance: own } = config
      if (database.dialect === 'postgres') {
        throw new CliError(
          'the configuration of this instance names PostgreSQL: restore there with pg_restore, or bring this backup back under another instance name and transfer it',
        )
      }
      if (own.dir === null) throw new CliError('the instance has no folder')
      const restored = await restoreBackup(
        file,
        { path: database.url, dir: own.dir, keys: encryptionKeys },
        { replace: options.force === true, now: new Date() },
      )
      show(io, options, restored, () => asText(restored, instance))
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} restore ${instance}-20261126T140000Z.backup`,
    `mail-proxy ${instance} restore ${instance}-20261126T140000Z.backup --force`,
  ])
}

function asText(restored: Restored, instance: string): string {
  const { waiting, in_flight, held, reports, made_at } = restored
  const start = instance === DEFAULT_INSTANCE ? 'mail-proxy serve' : `mail-proxy start ${instance}`
  const lines = [`${restored.database} is the backup of ${made_at}`]
  for (const kept of restored.kept_aside) lines.push(`  kept aside: ${kept}`)
  if (restored.config_differs) lines.push("  config.ini stays as it is; the backup's was another")
  if (!restored.has_key) {
    lines.push(
      '  The key its passwords were sealed with is not here: set GMP_ENCRYPTION_KEY, or bring back the file `key`',
    )
  }
  lines.push(
    '',
    `Nothing is sent from it before it is released: ${waiting + in_flight} messages may have gone out since ${made_at}`,
    `  ${waiting} wait`,
    `  ${in_flight} were being sent: the start takes them for in doubt`,
    `  ${held} are held in doubt until somebody decides`,
    `  ${reports} report entries were owed, and may have been told since`,
    'Messages accepted after that time are not in it.',
    '',
    'To go on:',
    `  ${start.padEnd(36)}sends nothing, answers the API`,
    `  ${'GET /messages?active_only=true'.padEnd(36)}what waits: cancel or delete what has gone out`,
    `  ${`${start} --release`.padEnd(36)}once, and it sends`,
  )
  return `${lines.join('\n')}\n`
}
