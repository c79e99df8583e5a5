/**
 * From the 354 to the reply to the final dot (RFC 5321 §4.1.1.4). The order is the promise: the content, then
 * `beforeFinalDot`, and only when that has agreed the dot. A small content waits for the hook and leaves together with
 * its dot, and with the envelope of the next message where there is one, in one write.
 */
import { Readable } from 'node:stream'
import type { Config } from '../config.js'
import { DotStuffer, stuffWhole } from './dot-stuffing.js'
import { contentBroke, outOfStep, type Progress, serverCloses } from './failures.js'
import { type Mail, type Reply, type SendOptions, SmtpFailure } from './transport.js'
import type { Wire } from './wire.js'

export type Timeouts = Pick<Config['smtp'], 'commandTimeoutMs' | 'finalReplyTimeoutMs'>

export interface ContentDeps {
  readonly wire: Wire
  readonly timeouts: Timeouts
  readonly remote: string
  /** The commands that leave with the final dot; '' when there is none. */
  goAhead(): string
  /** The reply that came for the dot is one to those. */
  isAnothers(reply: Reply): boolean
}

/** Under a usual socket send buffer: the dot then leaves with the hook's consent fresh, not minutes later. */
const oneWriteBytes = 64 * 1024
const sliceBytes = 128 * 1024

/**
 * The server's reply to the content. Throws WireBroken, SmtpFailure, or what the hook was rejected with; not async, as
 * what most messages go through on the way to that reply: each such function on the way costs some 0.5 KB and 0.3 µs.
 */
export function sendContent(
  deps: ContentDeps,
  mail: Mail,
  options: SendOptions,
  progress: Progress,
): Reply | Promise<Reply> {
  progress.phase = 'body'
  if (deps.wire.broken !== null) throw deps.wire.broken
  const early = refusedEarly(deps, progress)
  if (early !== null) return early
  const content = openContent(mail, deps, progress)
  if (content instanceof Readable) return sendStream(deps, content, mail, options, progress)
  if (mail.sizeBytes > oneWriteBytes) return sendSlowly(deps, slices(content), mail.sizeBytes, options, progress)
  return endContent(deps, stuffWhole(content), options, progress)
}

/** A transaction that ends closes its source; a source that stalls runs into the transaction's time limit. */
async function sendStream(
  deps: ContentDeps,
  content: Readable,
  mail: Mail,
  options: SendOptions,
  progress: Progress,
): Promise<Reply> {
  const { wire } = deps
  const onBroken = wire.onBroken
  wire.onBroken = error => {
    content.destroy(error)
    onBroken?.(error)
  }
  try {
    return await sendSlowly(deps, content, mail.sizeBytes, options, progress)
  } finally {
    wire.onBroken = onBroken
    // An error after this is of no interest, and would end the process without a listener.
    content.on('error', () => {}).destroy()
  }
}

async function sendSlowly(
  deps: ContentDeps,
  chunks: Iterable<Buffer> | Readable,
  sizeBytes: number,
  options: SendOptions,
  progress: Progress,
): Promise<Reply> {
  const stuffer = new DotStuffer()
  const early = await sendChunks(deps, stuffer, chunks, sizeBytes, progress)
  if (early !== null) return early
  deps.wire.limit(null)
  return endContent(deps, stuffer.end(), options, progress)
}

/** `ending`: what is still to be written, the final dot at its end. */
function endContent(
  deps: ContentDeps,
  ending: string,
  { beforeFinalDot }: SendOptions,
  progress: Progress,
): Reply | Promise<Reply> {
  const agreed = beforeFinalDot()
  if (agreed !== undefined) return unlessBroken(deps.wire, agreed).then(() => endNow(deps, ending, progress))
  return endNow(deps, ending, progress)
}

function endNow(deps: ContentDeps, ending: string, progress: Progress): Reply | Promise<Reply> {
  return refusedEarly(deps, progress) ?? finalReply(deps, ending, progress)
}

/** Null when all was written; a reply when the server refused the content before its end. */
async function sendChunks(
  deps: ContentDeps,
  stuffer: DotStuffer,
  chunks: Iterable<Buffer> | Readable,
  sizeBytes: number,
  progress: Progress,
): Promise<Reply | null> {
  const { wire, timeouts, remote } = deps
  let octets = 0
  try {
    wire.limit(timeouts.commandTimeoutMs)
    for await (const piece of chunks) {
      const early = refusedEarly(deps, progress)
      if (early !== null) return early
      const chunk = typeof piece === 'string' ? Buffer.from(piece) : (piece as Buffer)
      octets += chunk.length
      if (!wire.write(stuffer.push(chunk))) await wire.drained()
      wire.limit(timeouts.commandTimeoutMs)
    }
  } catch (error) {
    if (error instanceof SmtpFailure) throw error
    const early = refusedEarly(deps, progress)
    if (early !== null) return early
    if (wire.broken !== null) throw wire.broken
    throw contentBroke('The content could not be read', progress, remote, error)
  }
  // A source that ends early would otherwise be sent, and be taken for the whole message.
  if (octets !== sizeBytes) {
    throw contentBroke(`The content has ${octets} octets where ${sizeBytes} were announced`, progress, remote)
  }
  return null
}

async function finalReply(deps: ContentDeps, ending: string, progress: Progress): Promise<Reply> {
  const { wire, timeouts, remote } = deps
  if (wire.broken !== null) throw wire.broken
  const ahead = deps.goAhead()
  progress.phase = 'final'
  progress.afterDot = true
  wire.write(ending + octetsOf(ahead))
  const [reply] = await wire.replies(1, timeouts.finalReplyTimeoutMs)
  if (reply!.code === 421) throw serverCloses(reply!, progress, remote)
  if ((reply!.code >= 300 && reply!.code < 400) || deps.isAnothers(reply!)) throw outOfStep(reply!, progress, remote)
  progress.afterDot = false
  return reply!
}

/**
 * A reply that came before the dot: a refusal is the answer to the message, and the connection is dropped, for the
 * two sides no longer agree on where the data ends. An acceptance of what was not yet sent is another message's.
 */
function refusedEarly({ wire, remote }: ContentDeps, progress: Progress): Reply | null {
  const reply = wire.takeUnasked()
  if (reply === null) return null
  if (reply.code === 421) throw serverCloses(reply, progress, remote)
  if (reply.code < 400) throw outOfStep(reply, progress, remote)
  wire.drop()
  return reply
}

function openContent(mail: Mail, deps: ContentDeps, progress: Progress): ReturnType<Mail['open']> {
  try {
    return mail.open()
  } catch (error) {
    throw contentBroke('The content could not be opened', progress, deps.remote, error)
  }
}

function* slices(texts: readonly string[]): Generator<Buffer> {
  const content = texts.join('')
  for (let from = 0; from < content.length; from += sliceBytes) {
    yield Buffer.from(content.slice(from, from + sliceBytes), 'latin1')
  }
}

/** Commands as they go out, a character an octet: with SMTPUTF8 an address may need more. */
function octetsOf(commands: string): string {
  return /^[\x00-\x7f]*$/.test(commands) ? commands : Buffer.from(commands).toString('latin1')
}

/** The hook's answer, unless the wire breaks first: then nobody waits for it. */
function unlessBroken(wire: Wire, agreed: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const onBroken = wire.onBroken
    wire.onBroken = error => {
      reject(error)
      onBroken?.(error)
    }
    agreed.then(resolve, reject).finally(() => {
      wire.onBroken = onBroken
    })
  })
}
