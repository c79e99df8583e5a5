/** `mail-proxy <instance> transfer --to postgresql://…`: the whole SQLite database of an instance into PostgreSQL. */

import type { Command } from 'commander'
import type { Config } from '../../config.js'
import { isPostgres } from '../../config-values.js'
import { openDatabase } from '../../db/open.js'
import { createLogger } from '../../lib/logger.js'
import { urlOf } from '../../lib/url.js'
import type { Transferred } from '../../transfer/transfer.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, explainAway, showDatabase, withInstanceDatabase } from '../database.js'
import { CliError, UsageError } from '../errors.js'
import { DEFAULT_INSTANCE } from '../instance.js'
import { createProgress } from '../output/progress.js'
import { show } from '../output/show.js'
import { settingsOfKnownInstance } from '../settings.js'

interface TransferOptions {
  readonly to: string
  readonly json?: boolean
}

export function addTransfer(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('transfer')
    .description('carry the SQLite database of this instance, which must not run, over to an empty PostgreSQL')
    .requiredOption('--to <url>', 'postgresql://user@host/database; the password by PGPASSWORD or ~/.pgpass')
    .action(async (options: TransferOptions) => {
      const { config } = settingsOfKnownInstance(io, instance)
      if (config.database.dialect === 'postgres') {
        throw new CliError(
          'the database of this instance is PostgreSQL already: between servers pg_dump and pg_restore carry it',
        )
      }
      if (!databaseMayExist(config)) throw new CliError('there is no database yet')
      const target = targetOf(options.to)
      const began = performance.now()
      const names = { sourceName: showDatabase(config), targetName: showDatabase(target) }
      const done = await withInstanceDatabase(config, { exclusive: true }, async source => {
        const log = createLogger({ level: 'error', format: 'text', write: () => {} })
        // With the driver of PostgreSQL, which no other command needs.
        const { transfer } = await import('../../transfer/transfer.js')
        const into = await openDatabase(target, { log, exclusive: false })
        const progress = createProgress(io)
        try {
          return await transfer(source, into, {
            to: options.to,
            ...names,
            now: new Date(),
            progress: (table, rows, of) => progress.step(`${table}: ${rows} of ${of}`),
          }).catch(error => {
            throw explainAway(error, target)
          })
        } finally {
          progress.end()
          await into.close()
        }
      })
      const seconds = (performance.now() - began) / 1000
      const answer = { from: names.sourceName, to: names.targetName, seconds: Math.round(seconds * 10) / 10, ...done }
      show(io, options, answer, () => asText(answer, config, instance))
    })
  withExamples(withJson(command), [`mail-proxy ${instance} transfer --to postgresql://mail@db.example.com/mail`])
}

function targetOf(url: string): Pick<Config, 'database'> {
  if (!isPostgres(url) || urlOf(url) === null) {
    throw new UsageError('--to should be postgresql://user@host/database')
  }
  return { database: { url, dialect: 'postgres', poolSize: 2, answerTimeoutMs: 60_000, release: false } }
}

interface Answer extends Transferred {
  readonly from: string
  readonly to: string
  readonly seconds: number
}

function asText(answer: Answer, config: Config, instance: string): string {
  const { rows, tables, seconds, from, to, waiting, in_flight, held, reports } = answer
  const key =
    config.encryptionKeys === null ? `the file ${config.instance.dir}/key` : 'GMP_ENCRYPTION_KEY, as configured'
  const start = instance === DEFAULT_INSTANCE ? 'mail-proxy serve' : `mail-proxy start ${instance}`
  return `${[
    `${rows} rows of ${Object.keys(tables).length} tables are in ${to} and were compared, ${seconds} s`,
    `  ${waiting} messages wait, ${in_flight} were being sent, ${held} are held in doubt, ${reports} report entries are owed`,
    `  The key stays the same: ${key}. Every process on the new database needs it as GMP_ENCRYPTION_KEY or key file`,
    '',
    `Neither database sends before it is released. ${from} stays as it was, marked: never release it too`,
    '',
    'To go on:',
    '  set GMP_DB_PATH or [storage] db_path to the new database, with its password',
    `  ${start.padEnd(36)}sends nothing, answers the API`,
    `  ${`${start} --release`.padEnd(36)}once, and it sends`,
  ].join('\n')}\n`
}
