/**
 * addMessages: any number of messages in requests of a bounded size, one after another. Ids make repeats harmless, so a
 * failure half-way loses nothing: it says what was answered before, and all of it may simply be submitted again.
 */
import type { Call, CallOptions } from './call.js'
import { MailProxyError } from './error.js'
import type { MessageInput, Priority } from './messages.js'

export interface SubmitOptions extends CallOptions {
  /** For messages without their own. */
  readonly defaultPriority?: Priority | null
  /** Rejects messages with unknown fields, which else only warn. */
  readonly strict?: boolean
  /** Messages a request: 1,000, at most 10,000. */
  readonly batchSize?: number
  /** Characters a request; a longer message goes alone. 8,000,000. */
  readonly batchCharacters?: number
}

export interface Rejected {
  /** Its place among the messages given, from 0. */
  index: number
  id: string | null
  reason: string
  /** Stable (docs/errors.md). `already_sent` is a success for who repeats. */
  code: string
  field?: string
}

export interface Warning {
  id: string | null
  field: string
  hint: string
}

export interface Submission {
  /** Messages, from the first on, for which the service has answered: all of them, but in an error's `partial`. */
  answered: number
  /** Durable from now on. */
  queued: number
  rejected: Rejected[]
  warnings: Warning[]
}

const MOST_A_REQUEST = 10_000

/** @throws MailProxyError with `partial`, when a request failed; messages that were rejected are no failure. */
export async function submit(
  call: Call,
  messages: readonly MessageInput[],
  options: SubmitOptions = {},
): Promise<Submission> {
  const total: Submission = { answered: 0, queued: 0, rejected: [], warnings: [] }
  try {
    for (const batch of batchesOf(messages, options)) await submitBatch(call, batch, options, total)
  } catch (error) {
    if (error instanceof MailProxyError) error.partial = total
    throw error
  }
  return total
}

async function submitBatch(
  call: Call,
  batch: readonly string[],
  options: SubmitOptions,
  total: Submission,
): Promise<void> {
  const { defaultPriority, strict } = options
  const tail = defaultPriority == null ? '' : `,"default_priority":${JSON.stringify(defaultPriority)}`
  let answer: Omit<Submission, 'answered' | 'warnings'> & { warnings?: Warning[] }
  try {
    answer = await call(
      {
        method: 'POST',
        path: '/commands/add-messages',
        query: { strict: strict === true ? true : undefined },
        body: `{"messages":[${batch.join(',')}]${tail}}`,
        repeatable: true,
        scoped: true,
        // Nothing was queued, and why, message by message.
        alsoAnswer: { statuses: [400, 429], withField: 'rejected' },
      },
      options,
    )
  } catch (error) {
    // Of the service, or of a proxy before it.
    if (!(error instanceof MailProxyError) || error.status !== 413) throw error
    if (batch.length === 1) {
      // What can never be sent must not hold up what stands behind it.
      answer = {
        queued: 0,
        rejected: [{ index: 0, id: idIn(batch[0]!), reason: error.message, code: 'body_too_large' }],
      }
    } else {
      const half = Math.ceil(batch.length / 2)
      await submitBatch(call, batch.slice(0, half), options, total)
      return submitBatch(call, batch.slice(half), options, total)
    }
  }
  requireWhole(answer, batch.length)
  total.queued += answer.queued
  for (const each of answer.rejected) total.rejected.push({ ...each, index: total.answered + each.index })
  total.warnings.push(...(answer.warnings ?? []))
  total.answered += batch.length
}

/** Each message is queued or rejected. What leaves one out (a proxy's page, a mock) must not pass for an outbox that is empty. */
function requireWhole({ queued, rejected }: Pick<Submission, 'queued' | 'rejected'>, sent: number): void {
  const isWhole =
    Number.isInteger(queued) &&
    queued >= 0 &&
    Array.isArray(rejected) &&
    queued + rejected.length === sent &&
    rejected.every(each => Number.isInteger(each?.index) && each.index >= 0 && each.index < sent)
  if (isWhole) return
  throw new MailProxyError(
    'unexpected_answer',
    `POST /commands/add-messages: the answer does not tell what became of each of ${sent} messages; is this the service's address?`,
  )
}

/** Each message as JSON, so that a request's size is known before it is made. */
function* batchesOf(messages: readonly MessageInput[], options: SubmitOptions): Generator<string[]> {
  const { batchSize = 1000, batchCharacters = 8_000_000 } = options
  const most = Math.min(Math.max(1, Math.floor(batchSize)), MOST_A_REQUEST)
  let batch: string[] = []
  let characters = 0
  for (const message of messages) {
    const text = JSON.stringify(message) ?? 'null'
    if (batch.length > 0 && (batch.length >= most || characters + text.length > batchCharacters)) {
      yield batch
      batch = []
      characters = 0
    }
    batch.push(text)
    characters += text.length
  }
  if (batch.length > 0) yield batch
}

function idIn(message: string): string | null {
  const id = (JSON.parse(message) as { id?: unknown } | null)?.id
  return typeof id === 'string' ? id : null
}
