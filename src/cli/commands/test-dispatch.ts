/**
 * `mail-proxy <instance> <tenant> test-dispatch`: sends one real message through a chosen account and follows it, with
 * the SMTP conversation, to its report. Exit 1 when it was not sent or not reported.
 */
import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import { systemClock } from '../../lib/clock.js'
import { type Api, ApiError, withApi } from '../api.js'
import { createAsk } from '../ask.js'
import { type Place, withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { CliError, ExitWith, UsageError } from '../errors.js'
import { createProgress } from '../output/progress.js'
import { show } from '../output/show.js'
import { fields } from '../output/table.js'
import { duration, paintState, printable, time } from '../output/text.js'

interface TestOptions {
  readonly account?: string
  readonly to?: string
  readonly from?: string
  readonly tenant?: string
  readonly wait: string
  readonly json?: boolean
}

interface FollowedMessage {
  readonly id: string
  readonly status: string
  readonly account_id: string
  readonly error?: string
  readonly deferred_reason?: string
  readonly reported_ts?: number
  readonly waiting_for: string | null
  readonly waiting_detail?: string
  readonly next_attempt_ts: number | null
  readonly attempt_log?: readonly Attempt[]
}

interface Attempt {
  readonly n: number
  readonly duration_ms: number
  readonly remote: string | null
  readonly error: string | null
  readonly conversation?: readonly string[]
}

const LOOK_MS = 250
/** States in which nothing more is to come by itself. */
const ENDED: readonly string[] = ['sent', 'error', 'cancelled', 'in_doubt']

export function addTestDispatch(program: Command, { io, instance, tenant: ofPlace }: Place): void {
  const command = program
    .command('test-dispatch')
    .description('send one real message through an account and follow it to its report; exit 1 when it fails')
    .option('--account <id>', "the account; left out, the tenant's default one")
    .option('--to <address>', 'who gets it')
    .option('--from <address>', 'its sender; left out, the recipient')
    .option('--wait <seconds>', 'how long to follow it', '60')
  if (ofPlace === null) command.option('--tenant <id>', 'the tenant; left out, default')
  command.action(async (options: TestOptions) => {
    const seconds = Number(options.wait)
    if (!/^\d{1,5}$/.test(options.wait) || seconds < 1) throw new UsageError('--wait should be 1 to 99999 seconds')
    const tenant = ofPlace ?? options.tenant ?? 'default'
    const to = options.to ?? (await createAsk(io).text({ flag: '--to', label: 'Who gets the test message?' }))
    const message = { ...testMessage(tenant, options.from ?? to, to), account_id: options.account }
    const outcome = await withApi(io, instance, async api => {
      if (api.via === 'database') {
        throw new CliError(`${instance} does not run, so it sends nothing: mail-proxy start ${instance} --background`)
      }
      await submit(api, message)
      return follow(io, api, { id: message.id, tenant, seconds })
    })
    const sent = outcome.record.status === 'sent'
    const reported = outcome.record.reported_ts !== undefined
    show(io, options, { sent, reported, ...outcome }, () => asText(io, instance, tenant, outcome))
    if (!sent || !reported) throw new ExitWith(1)
  })
  const words = ofPlace === null ? `mail-proxy ${instance}` : `mail-proxy ${instance} ${ofPlace}`
  withExamples(withJson(command), [
    `${words} test-dispatch --to me@example.com`,
    `${words} test-dispatch --account main --from shop@example.com --to me@example.com --wait 300`,
  ])
}

function testMessage(tenant: string, from: string, to: string) {
  return {
    id: `test-dispatch-${randomUUID()}`,
    tenant_id: tenant,
    from,
    to: [to],
    subject: 'Test message of genro-mail-proxy',
    body: 'This message was sent by `mail-proxy test-dispatch` to see whether mail goes out. Nothing needs to be done.\n',
    priority: 0,
    keep_conversation: true,
  }
}

async function submit(api: Api, message: ReturnType<typeof testMessage>): Promise<void> {
  try {
    await api.call('POST', '/commands/add-messages', { body: { messages: [message] } })
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    const [rejection] = (error.answer.rejected as { reason: string }[] | undefined) ?? []
    throw rejection === undefined ? error : new CliError(`the message was not accepted: ${rejection.reason}`)
  }
}

interface Outcome {
  readonly record: FollowedMessage
  /** What was seen and when, ms after it was accepted. */
  readonly timeline: readonly { readonly at_ms: number; readonly what: string }[]
  /** It was still open, or not yet reported, when the time was over. */
  readonly timed_out: boolean
}

async function follow(
  io: CliIo,
  api: Api,
  { id, tenant, seconds }: { readonly id: string; readonly tenant: string; readonly seconds: number },
): Promise<Outcome> {
  const startedAt = systemClock.monotonic()
  const timeline: { at_ms: number; what: string }[] = []
  const note = (what: string) => {
    if (timeline.at(-1)?.what !== what) timeline.push({ at_ms: Math.round(systemClock.monotonic() - startedAt), what })
  }
  note('accepted')
  const progress = createProgress(io)
  try {
    for (;;) {
      const record = (await api.call<unknown>('GET', `/messages/${encodeURIComponent(id)}`, {
        query: { tenant_id: tenant },
      })) as FollowedMessage
      note(stateOf(record))
      const done = record.reported_ts !== undefined && ENDED.includes(record.status)
      if (done) note('reported')
      const late = systemClock.monotonic() - startedAt >= seconds * 1000
      if (done || late) return { record, timeline, timed_out: !done }
      progress.step(`${stateOf(record)}, ${duration((systemClock.monotonic() - startedAt) / 1000)}`)
      await systemClock.sleep(LOOK_MS)
    }
  } finally {
    progress.end()
  }
}

function stateOf({ status, waiting_for: waitingFor, waiting_detail: detail }: FollowedMessage): string {
  return waitingFor === null || waitingFor === undefined ? status : `${status}: ${detail ?? waitingFor}`
}

function asText(io: CliIo, instance: string, tenant: string, { record, timeline, timed_out: late }: Outcome): string {
  const attempt = record.attempt_log?.at(-1)
  const lines = timeline.map(({ at_ms: at, what }) => `${String(at).padStart(8)} ms  ${printable(what)}\n`)
  const conversation = (attempt?.conversation ?? []).map(line => `  ${printable(line)}\n`).join('')
  const spoken = conversation === '' ? '' : `\nconversation with ${attempt?.remote}\n${conversation}`
  const about = fields(io, [
    ['message', record.id],
    ['account', record.account_id],
    ['status', record.status],
    ['attempts', record.attempt_log?.length ?? 0],
    ['took', attempt === undefined ? undefined : `${attempt.duration_ms} ms with the server`],
    ['why', record.error ?? record.deferred_reason],
    [
      'next attempt',
      record.status === 'sent' || record.next_attempt_ts === null ? undefined : time(record.next_attempt_ts),
    ],
    ['reported', record.reported_ts === undefined ? 'not yet' : time(record.reported_ts)],
  ]).replace(record.status, paintState(io, record.status))
  return `${lines.join('')}${spoken}\n${about}${whatNow(instance, tenant, record, late)}`
}

function whatNow(instance: string, tenant: string, record: FollowedMessage, late: boolean): string {
  if (record.status === 'sent' && !late) return ''
  if (record.status === 'sent') {
    return `\nsent, but its report is not acknowledged yet: mail-proxy ${instance} diagnose --tenant ${tenant}\n`
  }
  if (!ENDED.includes(record.status)) {
    return `\nit is not sent yet and stays in the queue: mail-proxy ${instance} diagnose --tenant ${tenant} --account ${record.account_id}\n`
  }
  return `\nit was not sent: mail-proxy ${instance} diagnose --tenant ${tenant} --account ${record.account_id}\n`
}
