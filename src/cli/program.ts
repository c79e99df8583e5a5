/** Which commands there are, and how the first words choose among them. */
import type { Command } from 'commander'
import { VERSION } from '../lib/version.js'
import { createProgram, type Place, type TenantPlace, withExamples } from './command.js'
import { addAccounts, addAllAccounts } from './commands/accounts/accounts.js'
import { addBackup } from './commands/backup.js'
import { addCheckLoop } from './commands/check-loop.js'
import { addCommandLog } from './commands/command-log.js'
import { addCompletion } from './commands/completion.js'
import { addConfig } from './commands/config.js'
import { addDelete } from './commands/delete.js'
import { addDiagnose } from './commands/diagnose.js'
import { addInfo } from './commands/info.js'
import { addList } from './commands/list.js'
import { addMessages } from './commands/messages/messages.js'
import { addMigrate } from './commands/migrate.js'
import { addRestart } from './commands/restart.js'
import { addRestore } from './commands/restore.js'
import { addRotateKey } from './commands/rotate-key.js'
import { addRules } from './commands/rules/rules.js'
import { addRunNow } from './commands/run-now.js'
import { addServe } from './commands/serve.js'
import { addStart } from './commands/start.js'
import { addStats } from './commands/stats.js'
import { addStatus } from './commands/status.js'
import { addStop } from './commands/stop.js'
import { addActivate, addSuspend } from './commands/suspend.js'
import { addTenantInfo } from './commands/tenants/info.js'
import { addTenants } from './commands/tenants/tenants.js'
import { addTestDispatch } from './commands/test-dispatch.js'
import { addToken } from './commands/token.js'
import { addTransfer } from './commands/transfer.js'
import { addVolumes } from './commands/volumes.js'
import type { CliIo } from './context.js'
import { UsageError } from './errors.js'
import { COMMAND_NAMES, instanceFolder } from './instance.js'
import type { CreateService } from './serving.js'

const BEFORE_INSTANCE: readonly string[] = ['start', 'stop', 'restart', 'status', 'delete']

/** The program that the first words name, and the words left for it. */
export function programFor(
  argv: readonly string[],
  io: CliIo,
  createService: CreateService,
): { readonly program: Command; readonly rest: readonly string[] } {
  const [first, second, ...more] = argv
  if (first === undefined || first.startsWith('-') || (COMMAND_NAMES as readonly string[]).includes(first)) {
    return { program: rootProgram(io, createService), rest: argv.length === 0 ? ['--help'] : argv }
  }
  // A name that cannot be one is refused before its commands are looked at.
  instanceFolder(first, io.env, io.home)
  const ofInstance = instanceProgram({ io, instance: first, tenant: null })
  if (second === '--tenant' || second === '-t') {
    const [tenant, ...rest] = more
    if (tenant === undefined) throw new UsageError('--tenant needs the id of a tenant')
    return { program: tenantProgram({ io, instance: first, tenant }), rest: rest.length === 0 ? ['--help'] : rest }
  }
  if (second !== undefined && TENANT_ID.test(second) && !hasCommand(ofInstance, second)) {
    const ofTenant = tenantProgram({ io, instance: first, tenant: second })
    // A mistyped command must not be taken for a tenant, whose id is followed by one of its commands.
    const [word = ''] = more
    if (word === '--help' || word === '-h' || hasCommand(ofTenant, word)) return { program: ofTenant, rest: more }
    // The only ones whose instance stands behind them.
    if (BEFORE_INSTANCE.includes(second)) throw new UsageError(`it is \`mail-proxy ${second} ${first}\``)
  }
  return { program: ofInstance, rest: argv.length === 1 ? ['--help'] : argv.slice(1) }
}

export function rootProgram(io: CliIo, createService: CreateService): Command {
  const program = createProgram('mail-proxy', io)
    .usage('[command] | <instance> <command> | <instance> <tenant> <command>')
    .description('Durable mail queue between applications and their SMTP accounts')
    .version(VERSION, '-V, --version')
  addServe(program, io, createService)
  addStart(program, io, createService)
  addStop(program, io)
  addRestart(program, io)
  addStatus(program, io)
  addList(program, io)
  addDelete(program, io)
  addCompletion(program, io, {
    root: () => program,
    ofInstance: instance => instanceProgram({ io, instance, tenant: null }),
    ofTenant: (instance, tenant) => tenantProgram({ io, instance, tenant }),
  })
  return withExamples(program, [
    'mail-proxy start shop --background   # make an instance and serve it',
    'mail-proxy shop tenants add acme     # a tenant of it',
    'mail-proxy shop acme accounts add    # an SMTP account, asked for step by step',
    'mail-proxy shop acme messages list   # what waits, what went out',
    'mail-proxy shop --help               # all commands of one instance',
    'mail-proxy shop acme --help          # all commands of one tenant',
  ])
}

export function instanceProgram(place: Place): Command {
  const { io, instance } = place
  const program = createProgram(`mail-proxy ${instance}`, io)
    .usage('<command> | <tenant> <command>')
    .description(`Commands of one instance`)
  addInfo(program, io, instance)
  addTenants(program, place)
  addAllAccounts(program, place)
  addMessages(program, place)
  addVolumes(program, place)
  addRules(program, place)
  addStats(program, place)
  addRunNow(program, place)
  addSuspend(program, place)
  addActivate(program, place)
  addDiagnose(program, place)
  addCheckLoop(program, place)
  addTestDispatch(program, place)
  addCommandLog(program, place)
  addConfig(program, place)
  addToken(program, io, instance)
  addRotateKey(program, io, instance)
  addMigrate(program, io, instance)
  addBackup(program, io, instance)
  addRestore(program, io, instance)
  addTransfer(program, io, instance)
  return withExamples(program, [
    `mail-proxy ${instance} tenants list`,
    `mail-proxy ${instance} acme messages list --status error`,
    `mail-proxy ${instance} --tenant stats accounts list   # a tenant whose id is also a command`,
  ])
}

export function tenantProgram(place: TenantPlace): Command {
  const { io, instance, tenant } = place
  const program = createProgram(`mail-proxy ${instance} ${tenant}`, io).description('Commands of one tenant')
  addTenantInfo(program, place)
  addAccounts(program, place)
  addMessages(program, place)
  addVolumes(program, place)
  addStats(program, place)
  addRunNow(program, place)
  addSuspend(program, place)
  addActivate(program, place)
  addTestDispatch(program, place)
  return withExamples(program, [
    `mail-proxy ${instance} ${tenant} accounts list`,
    `mail-proxy ${instance} ${tenant} messages list --status error`,
  ])
}

const TENANT_ID = /^[A-Za-z0-9_.-]{1,64}$/

function hasCommand(program: Command, name: string): boolean {
  return program.commands.some(command => command.name() === name || command.aliases().includes(name))
}
