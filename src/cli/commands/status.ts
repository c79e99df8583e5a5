/** `mail-proxy status <instance>`: does it run, does it send, what waits. Exit 1 when it does not run. */
import type { Command } from 'commander'
import { withApi } from '../api.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist } from '../database.js'
import { ExitWith, errorLine } from '../errors.js'
import { show } from '../output/show.js'
import { fields } from '../output/table.js'
import { counted, duration, paintState } from '../output/text.js'
import { lookAtProcess, type State } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

interface ServiceStatus {
  readonly active: boolean
  readonly pending_messages: number
  readonly uptime_seconds: number
  readonly version: string
  readonly draining: boolean
  readonly release_needed?: string
  readonly paused_accounts: readonly { tenant_id: string; id: string; reason?: string }[]
}

export function addStatus(program: Command, io: CliIo): void {
  const command = program
    .command('status')
    .argument('<instance>', 'name of the instance')
    .description('does it run, does it send, what waits; exit 1 when it does not run')
    .action(async (instance: string, options: { json?: boolean }) => {
      const answer = await gather(io, instance)
      show(io, options, answer, () => asText(io, answer))
      if (answer.state !== 'running') throw new ExitWith(1)
    })
  withExamples(withJson(command), ['mail-proxy status shop', 'mail-proxy status shop --json'])
}

interface Answer extends Partial<ServiceStatus> {
  readonly instance: string
  readonly state: State
  readonly pid: number | null
  readonly url: string | null
  readonly problem?: string
}

async function gather(io: CliIo, instance: string): Promise<Answer> {
  const { config } = settingsOfKnownInstance(io, instance)
  const { state, process } = await lookAtProcess(io, config.instance.dir)
  const known = { instance, state, pid: process?.pid ?? null, url: state === 'running' ? process!.url : null }
  if (state === 'starting') {
    return { ...known, problem: `it is starting and sends nothing yet; its log tells how far it is` }
  }
  if (state === 'not answering') {
    return { ...known, problem: `process ${process?.pid} is there and does not answer on ${process?.url}` }
  }
  if (state === 'stopped' && !databaseMayExist(config)) return { ...known, problem: 'there is no database yet' }
  try {
    const { ok: _, ...status } = await withApi(io, instance, api =>
      api.call<ServiceStatus & { ok: true }>('GET', '/status'),
    )
    return { ...known, ...status }
  } catch (error) {
    return { ...known, problem: errorLine(error).slice('Error: '.length) }
  }
}

function asText(io: CliIo, answer: Answer): string {
  const isRunning = answer.state === 'running'
  const sends = answer.active ? 'yes' : (answer.release_needed ?? 'no: the scheduler is suspended')
  const paused = answer.paused_accounts?.map(account => `${account.tenant_id}/${account.id}`).join(', ')
  return fields(io, [
    ['instance', answer.instance],
    [
      'state',
      `${answer.state}${answer.draining ? ', stopping' : ''}${answer.pid === null ? '' : ` (pid ${answer.pid})`}`,
    ],
    ['url', answer.url ?? undefined],
    ['sending', answer.active === undefined || !isRunning ? (answer.release_needed ?? undefined) : sends],
    ['waiting', answer.pending_messages === undefined ? undefined : counted(answer.pending_messages, 'message')],
    ['paused', paused === undefined || paused === '' ? undefined : paused],
    ['up for', isRunning && answer.uptime_seconds !== undefined ? duration(answer.uptime_seconds) : undefined],
    ['version', isRunning ? answer.version : undefined],
    ['problem', answer.problem],
  ]).replace(answer.state, paintState(io, answer.state))
}
