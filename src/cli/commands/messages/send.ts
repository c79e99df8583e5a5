/** `messages send <file.eml>`: submits a mail file, and with --wait follows it to its end. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import type { Command } from 'commander'
import { systemClock } from '../../../lib/clock.js'
import { type Api, ApiError, withApi } from '../../api.js'
import { type Place, withExamples, withJson } from '../../command.js'
import type { CliIo } from '../../context.js'
import { CliError, ExitWith, UsageError } from '../../errors.js'
import { show } from '../../output/show.js'
import { fields } from '../../output/table.js'
import { duration, paintState } from '../../output/text.js'
import { timeToCome } from '../../times.js'
import type { ReadMail } from './read-eml.js'
import { isOpen, messagePath, PRIORITIES, type WholeMessage } from './record.js'
import { whyOf } from './why.js'

interface SendFlags {
  readonly id?: string
  readonly account?: string
  readonly to?: readonly string[]
  readonly priority?: string
  readonly at?: string
  readonly batch?: string
  readonly wait?: boolean
  readonly timeout?: string
  readonly json?: boolean
}

export function addMessageSend(messages: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = messages
    .command('send')
    .description('submit a mail file with its attachments; To, Cc and Bcc in it are who gets it')
    .argument('<file.eml>', 'the mail; - is standard input')
    .option('--id <id>', 'id of the message; left out: its Message-ID, else a new one')
    .option('--account <account>', 'through this account; left out: the only one, or the default')
    .option('--to <address>', 'send to this address in place of its To, Cc and Bcc; may be repeated', collect)
    .option('--priority <priority>', 'immediate, high, medium or low')
    .option('--at <time>', 'not before: Unix seconds, a date as in 2027-06-30T08:00, or +2h for in two hours')
    .option('--batch <code>', 'batch it belongs to')
    .option('--wait', 'follow it to its end; exit 1 when it is not sent')
    .option('--timeout <seconds>', 'wait no longer than this')
    .action(async (file: string, flags: SendFlags) => {
      const timeoutMs = timeoutOf(flags)
      // Loaded only here: every other command starts without it.
      const { readEml } = await import('./read-eml.js')
      const mail = await readEml(await octetsOf(io, file), file)
      const message = messageOf(place, mail, flags, file)
      const ended = await withApi(io, instance, async api => {
        const idle = api.via === 'database' && api.config.database.dialect === 'sqlite'
        if (idle && flags.wait) {
          throw new CliError(`${instance} does not run, so there is nothing to wait for; nothing was submitted`)
        }
        const { warnings = [] } = await submit(api, message)
        for (const { field, hint } of warnings) io.err(`Warning: ${field}: ${hint}\n`)
        if (mail.leftOut.length > 0) io.err(`Left out of its header: ${mail.leftOut.join(', ')}\n`)
        if (idle) io.err(`${instance} does not run: it goes out once \`mail-proxy start ${instance}\` was given\n`)
        return flags.wait ? follow(io, api, message, timeoutMs) : null
      })
      if (ended === null) {
        show(io, flags, { id: message.id, tenant_id: tenant, queued: true }, () => `queued as ${message.id}\n`)
        return
      }
      show(io, flags, ended, () => endOf(io, ended))
      if (ended.status !== 'sent') throw new ExitWith(1)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} ${tenant} messages send mail.eml`,
    `mail-proxy ${instance} ${tenant} messages send mail.eml --account main --to me@example.com --wait`,
    `mail-proxy ${instance} ${tenant} messages send - --id invoice-42 --at 2027-06-30T08:00 < mail.eml`,
  ])
}

function collect(value: string, all: readonly string[] = []): string[] {
  return [...all, value]
}

function timeoutOf({ timeout, wait }: SendFlags): number {
  if (timeout === undefined) return Number.POSITIVE_INFINITY
  if (!wait) throw new UsageError('--timeout needs --wait')
  if (!/^\d{1,7}$/.test(timeout)) throw new UsageError(`--timeout is "${timeout}": it should be whole seconds`)
  return Number(timeout) * 1000
}

async function octetsOf({ stdin }: CliIo, file: string): Promise<Uint8Array> {
  try {
    return file === '-' ? await buffer(stdin) : readFileSync(file)
  } catch (cause) {
    throw new CliError(`${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
}

type NewMessage = Readonly<Record<string, unknown>> & { readonly id: string; readonly tenant_id: string | null }

function messageOf({ tenant }: Place, mail: ReadMail, flags: SendFlags, file: string): NewMessage {
  const to = flags.to !== undefined ? { to: flags.to, cc: undefined, bcc: undefined } : {}
  const fields: Readonly<Record<string, unknown>> = { ...mail.fields, ...to }
  if ((fields.to as readonly string[]).length === 0) {
    throw new CliError(`${file} has nobody in To: name who gets it with --to`)
  }
  if (flags.priority !== undefined && !isPriority(flags.priority)) {
    throw new UsageError(`--priority is "${flags.priority}": it should be ${PRIORITIES.join(', ')} or 0 to 3`)
  }
  return {
    ...fields,
    id: flags.id ?? mail.messageId ?? randomUUID(),
    tenant_id: tenant,
    account_id: flags.account,
    priority: flags.priority,
    deferred_ts: timeToCome('--at', flags.at),
    batch_code: flags.batch,
  }
}

function isPriority(text: string): boolean {
  return /^[0-3]$/.test(text) || (PRIORITIES as readonly string[]).includes(text)
}

interface Submission {
  readonly rejected: readonly { readonly reason: string; readonly code: string }[]
  readonly warnings?: readonly { readonly field: string; readonly hint: string }[]
}

async function submit(api: Api, message: NewMessage): Promise<Submission> {
  const answer = await api
    .call<Submission>('POST', '/commands/add-messages', { body: { messages: [message] } })
    .catch(error => {
      // Its own sentence says only that nothing was queued.
      if (error instanceof ApiError && Array.isArray(error.answer.rejected))
        return error.answer as unknown as Submission
      throw error
    })
  const [refused] = answer.rejected
  if (refused === undefined) return answer
  const again = refused.code === 'already_sent' ? '; another --id sends it once more' : ''
  throw new CliError(`${message.id} was not queued: ${refused.reason} (${refused.code})${again}`)
}

const LOOK_MS = 300

/** Looks until it has ended or somebody has to decide; a change of its state is told where a person watches. */
async function follow(io: CliIo, api: Api, message: NewMessage, timeoutMs: number): Promise<WholeMessage> {
  const broken = new AbortController()
  const deaf = io.onSignal(() => broken.abort())
  const until = performance.now() + timeoutMs
  let told = ''
  try {
    for (;;) {
      const now = await api.call<WholeMessage>('GET', messagePath(message.id), {
        query: { tenant_id: message.tenant_id },
      })
      if (!isOpen(now) || now.status === 'in_doubt') return now
      const line = `${now.status}: ${now.waiting_detail ?? ''}`
      if (io.terminal.stderr && line !== told) io.err(`${line}\n`)
      told = line
      if (performance.now() >= until) {
        throw new CliError(`${message.id} has not ended after ${duration(timeoutMs / 1000)}: ${line}`)
      }
      await systemClock.sleep(LOOK_MS, broken.signal)
      if (broken.signal.aborted) {
        io.err(`Not watched any longer; ${message.id} stays in the queue\n`)
        throw new ExitWith(130)
      }
    }
  } finally {
    deaf()
  }
}

function endOf(io: CliIo, message: WholeMessage): string {
  const refused = message.recipients?.filter(each => each.status === 'refused') ?? []
  return fields(io, [
    ['message', message.id],
    ['state', message.status, text => paintState(io, text)],
    ['why', whyOf(message)],
    ...refused.map(each => [each.address, each.reply ?? each.code] as const),
  ])
}
