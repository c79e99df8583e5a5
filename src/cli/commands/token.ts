/** `mail-proxy <instance> token`: shows the admin token, or replaces it. */
import type { Command } from 'commander'
import { migrate } from '../../db/migrate.js'
import { replaceToken } from '../admin-token.js'
import { refuseOldSchema } from '../api.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { withInstanceDatabase } from '../database.js'
import { CliError } from '../errors.js'
import { readToken, tokenPath } from '../instance.js'
import { settingsOfKnownInstance } from '../settings.js'

export function addToken(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('token')
    .description('show the admin token')
    .option('-r, --regenerate', 'make a new token; the old one ends at once')
    .action(async (options: { regenerate?: boolean; json?: boolean }) => {
      const token = options.regenerate ? await regenerate(io, instance) : show(io, instance)
      io.out(options.json ? `${JSON.stringify({ token })}\n` : `${token}\n`)
    })
  withExamples(withJson(command), [`mail-proxy ${instance} token`, `mail-proxy ${instance} token --regenerate`])
}

function show(io: CliIo, instance: string): string {
  const { config } = settingsOfKnownInstance(io, instance)
  const token = config.server.apiToken ?? readToken(folderOf(config.instance.dir))
  if (token === null) {
    throw new CliError(
      `no token is kept in ${tokenPath(folderOf(config.instance.dir))}: look where the instance was first started, or make a new one with --regenerate`,
    )
  }
  return token
}

async function regenerate(io: CliIo, instance: string): Promise<string> {
  const { config, sources } = settingsOfKnownInstance(io, instance)
  if (config.server.apiToken !== null) {
    throw new CliError(
      `the token is set by the ${sources.get('server.apiToken')} (GMP_API_TOKEN, api_token): change it there`,
    )
  }
  await refuseOldSchema(config)
  return withInstanceDatabase(config, { exclusive: false }, async db => {
    await migrate(db)
    return replaceToken(db, folderOf(config.instance.dir))
  })
}

function folderOf(dir: string | null): string {
  if (dir === null) throw new CliError('the instance has no folder')
  return dir
}
