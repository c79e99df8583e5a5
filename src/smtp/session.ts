/**
 * The transactions of one logged-in connection (RFC 5321 §3.3), pipelined where the server offers it (RFC 2920): one
 * write a message while there is a next one, whose envelope goes along with the final dot. Refusals are values; a
 * connection that breaks, or a 421, is thrown as SmtpFailure and is the end of the session.
 */
import type { Clock } from '../lib/clock.js'
import type { Envelope } from '../messages/message.js'
import { watchAbort } from './abort-watch.js'
import { sendContent, type Timeouts } from './content.js'
import { type EnvelopePlan, planEnvelope } from './envelope-plan.js'
import type { Extensions } from './extensions.js'
import { outOfStep, type Progress, serverCloses, toFailure } from './failures.js'
import { isAcceptance, isRefusal, isTooManyRecipients } from './reply.js'
import type { Letter, Mail, RecipientReply, Replies, Reply, SendOptions, SmtpPhase } from './transport.js'
import { type Wire, WireBroken } from './wire.js'
import { writeDown } from './write-down.js'

/** A connection after login, as `openConnection` hands it over. */
export interface Link {
  readonly wire: Wire
  readonly extensions: Extensions
  /** host:port as connected. */
  readonly remote: string
  /** Text without the secrets of its login, whoever says them. */
  mask(text: string): string
}

/** What leaves behind the final dot: the envelope of the next transaction, or the end of the connection. */
export type Behind = Letter | 'QUIT' | null

interface EnvelopeReplies {
  readonly mail: Reply | null
  readonly recipients: readonly RecipientReply[]
  readonly anyAccepted: boolean
  /** Reply to DATA; null when it was not sent. */
  readonly data: Reply | null
}

type AskedPlan = Extract<EnvelopePlan, { refusal: null }>

/** A transaction of which the envelope is out, and nothing else. */
interface Ahead {
  readonly mail: Mail
  readonly plan: AskedPlan
  /** Replies read on this connection before the first of its own. */
  readonly repliesBefore: number
}

export class Session {
  private readonly wire: Wire
  private needsReset = false
  private ahead: Ahead | null = null
  /** An envelope is out that nothing will follow. */
  private isForgone = false
  private readonly stop = () => this.wire.drop('the transaction was stopped')
  /** Transactions begun. */
  transactions = 0
  /** One is under way. */
  isTransacting = false
  /** QUIT is out. */
  isLeaving = false

  constructor(
    private readonly link: Link,
    private readonly timeouts: Timeouts,
    private readonly clock: Clock,
  ) {
    this.wire = link.wire
  }

  get remote(): string {
    return this.link.remote
  }

  /** False when the connection broke, the server said more than it was asked, or an envelope or QUIT is out. */
  get isReusable(): boolean {
    return this.wire.isReusable && this.ahead === null && !this.isForgone && !this.isLeaving
  }

  /** The mail whose envelope is out ahead of its transaction: only that one may come next. */
  get expects(): Mail | null {
    return this.ahead?.mail ?? null
  }

  /** The mail that is expected will not come: the connection ends, after the transaction under way if there is one. */
  forgo(): void {
    this.ahead = null
    this.isForgone = true
    if (!this.isTransacting) this.wire.drop('the message whose envelope was out was not sent')
  }

  /** Called once when the connection is gone, also while idle. */
  onGone(listener: (why: string) => void): void {
    this.wire.onBroken = error => listener(error.message)
    if (this.wire.broken !== null) listener(this.wire.broken.message)
  }

  /**
   * One transaction; `next` is asked for what comes after it. With QUIT out, `quit` is to follow. Throws SmtpFailure, or
   * what `beforeFinalDot` was rejected with; the connection is gone then.
   */
  async transact(envelope: Envelope, mail: Mail, options: SendOptions, next: () => Behind): Promise<Replies> {
    const startedAt = this.clock.monotonic()
    const { ahead } = this
    this.ahead = null
    const plan = ahead?.plan ?? planEnvelope(envelope, mail, this.link.extensions)
    if (plan.refusal !== null) return this.result(startedAt, refusedAll(envelope, plan.refusal), null, false)
    if (plan.asked.length === 0) return this.result(startedAt, nobodyAsked(envelope, plan), null, false)

    const { wire, link } = this
    const progress: Progress = { phase: 'mail', reachedData: false, afterDot: false }
    if (options.signal.aborted) this.stop()
    const unwatch = watchAbort(options.signal, this.stop)
    this.transactions++
    this.isTransacting = true
    wire.idle = false
    if (options.conversation !== undefined) wire.tap = writeDown(options.conversation, this.link.mask)
    try {
      const replies =
        (ahead === null ? null : this.toldAhead(envelope, plan, progress)) ??
        (link.extensions.pipelining
          ? await this.askAtOnce(envelope, plan, ahead, progress)
          : await this.askOneByOne(envelope, plan, progress))
      const data = await this.finish(replies, mail, options, next, progress)
      return this.result(startedAt, replies, data, progress.reachedData)
    } catch (error) {
      this.ahead = null
      wire.drop()
      throw error instanceof WireBroken ? toFailure(error, progress, link.remote) : error
    } finally {
      unwatch()
      this.isTransacting = false
      wire.tap = null
      // What the server says from here on answers the envelope that is out, or nothing.
      wire.idle = this.ahead === null && !this.isLeaving
      if (wire.idle && !this.isReusable) wire.drop()
    }
  }

  /** Says QUIT unless it is out, and waits up to `withinMs` for the answer; null when none came. The connection is gone then. */
  async quit(withinMs: number): Promise<Reply | null> {
    let goodbye: Reply | null = null
    try {
      this.wire.idle = false
      if (!this.isLeaving) this.wire.command(QUIT)
      this.isLeaving = true
      goodbye = (await this.wire.replies(1, withinMs))[0] ?? null
    } catch {
      // The connection was to end anyway.
    }
    this.wire.drop('it was closed with QUIT')
    return goodbye
  }

  /**
   * MAIL, every RCPT and DATA in one write, unless they are out already; the replies come in the same order (RFC 2920
   * §3.1).
   */
  private async askAtOnce(
    envelope: Envelope,
    plan: AskedPlan,
    ahead: Ahead | null,
    progress: Progress,
  ): Promise<EnvelopeReplies> {
    const { wire } = this
    // An envelope goes ahead of its transaction only behind one that reached its dot.
    const resets = this.needsReset ? 1 : 0
    const before = ahead?.repliesBefore ?? wire.repliesRead
    let replies: Reply[]
    try {
      if (ahead === null) wire.command((resets === 1 ? 'RSET\r\n' : '') + commandsOf(plan))
      progress.reachedData = true
      replies = await wire.replies(resets + plan.asked.length + 2, this.timeouts.commandTimeoutMs)
    } catch (error) {
      progress.phase = phaseOf(wire.repliesRead - before, plan, resets)
      const salvaged = this.salvage(envelope, plan, resets)
      if (salvaged !== null) return salvaged
      throw error
    }
    return this.judge(envelope, plan, resets, replies, progress)
  }

  /** The replies to an envelope that went ahead, which mostly come together with that to the dot; null: not all have come. */
  private toldAhead(envelope: Envelope, plan: AskedPlan, progress: Progress): EnvelopeReplies | null {
    const replies = this.wire.repliesAtHand(plan.asked.length + 2)
    if (replies === null) return null
    progress.reachedData = true
    return this.judge(envelope, plan, 0, replies, progress)
  }

  /** `replies`: to RSET if it was sent, MAIL, each RCPT and DATA; fewer when the last is a 421. */
  private judge(
    envelope: Envelope,
    plan: AskedPlan,
    resets: number,
    replies: readonly Reply[],
    progress: Progress,
  ): EnvelopeReplies {
    for (let i = 0; i < replies.length; i++) {
      progress.phase = phaseOf(i, plan, resets)
      this.check(replies[i]!, progress)
    }
    this.needsReset = false
    const recipients = replies.slice(resets + 1, -1)
    const data = replies.at(-1)!
    if (data.code !== 354) this.checkNothingFollows(progress)
    // Refused for want of a sender or recipient, DATA was no more than a word.
    progress.reachedData = data.code === 354 || recipients.some(isAcceptance)
    return sortReplies(envelope, plan, replies[resets]!, recipients, data)
  }

  /**
   * A server that refuses the sender, or every recipient, and hangs up without answering the rest has still said no.
   * Taken as that: as a broken connection it would be tried again and again.
   */
  private salvage(envelope: Envelope, plan: AskedPlan, resets: number): EnvelopeReplies | null {
    const read: Reply[] = []
    for (let reply = this.wire.takeUnasked(); reply !== null; reply = this.wire.takeUnasked()) read.push(reply)
    const mail = read[resets]
    const recipients = read.slice(resets + 1)
    if (mail === undefined) return null
    // A recipient taken without a sender: it is the first recipient's refusal, and that to MAIL is missing.
    if (isRefusal(mail)) return recipients.every(isRefusal) ? sortReplies(envelope, plan, mail, [], null) : null
    const allRefused = recipients.length === plan.asked.length && recipients.every(isRefusal)
    return allRefused ? sortReplies(envelope, plan, mail, recipients, null) : null
  }

  private async askOneByOne(envelope: Envelope, plan: AskedPlan, progress: Progress): Promise<EnvelopeReplies> {
    if (this.needsReset) await this.ask('RSET\r\n', 'rset', progress)
    this.needsReset = false
    const mail = await this.ask(plan.mailCommand, 'mail', progress)
    const replies: Reply[] = []
    if (isAcceptance(mail)) {
      for (const address of plan.asked) {
        const reply = await this.ask(`RCPT TO:<${address}>\r\n`, 'rcpt', progress)
        replies.push(reply)
        if (isTooManyRecipients(reply)) break
      }
    }
    let data: Reply | null = null
    if (replies.some(isAcceptance)) {
      progress.reachedData = true
      data = await this.ask('DATA\r\n', 'data', progress)
    }
    return sortReplies(envelope, plan, mail, replies, data)
  }

  private async ask(command: string, phase: SmtpPhase, progress: Progress): Promise<Reply> {
    progress.phase = phase
    this.wire.command(command)
    const [reply] = await this.wire.replies(1, this.timeouts.commandTimeoutMs)
    this.check(reply!, progress)
    if (reply!.code !== 354) this.checkNothingFollows(progress)
    return reply!
  }

  /** Throws for more than was asked, but for the farewell of a server that closes: the replies before may be another's. */
  private checkNothingFollows(progress: Progress): void {
    const extra = this.wire.takeUnasked()
    if (extra !== null && extra.code !== 421) throw outOfStep(extra, progress, this.link.remote)
  }

  /** Throws for a reply that fits none of the answers its command can have (RFC 5321 §4.3.2). */
  private check(reply: Reply, progress: Progress): void {
    if (reply.code === 421) throw serverCloses(reply, progress, this.link.remote)
    const fits =
      progress.phase === 'data'
        ? reply.code === 354 || isRefusal(reply)
        : progress.phase === 'rset'
          ? isAcceptance(reply)
          : isAcceptance(reply) || isRefusal(reply)
    if (!fits) throw outOfStep(reply, progress, this.link.remote)
  }

  /** From the reply to DATA to that to the final dot; null when there was nobody to send to. */
  private finish(
    replies: EnvelopeReplies,
    mail: Mail,
    options: SendOptions,
    next: () => Behind,
    progress: Progress,
  ): Reply | null | Promise<Reply | null> {
    const { wire, timeouts, remote } = this
    const isAwaited = replies.data?.code === 354
    if (replies.mail === null && replies.anyAccepted) {
      if (isAwaited) {
        // Its conversation is one transaction's: the commands of another have no place in it.
        const isAlone = !this.link.extensions.pipelining || options.conversation !== undefined
        const goAhead = () => (isAlone ? '' : this.goAhead(next()))
        options.onContent?.()
        const isAnothers = (reply: Reply) => this.isAnothers(reply)
        return sendContent({ wire, timeouts, remote, goAhead, isAnothers }, mail, options, progress)
      }
      this.needsReset = true
      return replies.data
    }
    this.needsReset = true
    return isAwaited && wire.broken === null ? this.endEmptyData(progress) : null
  }

  /** The commands to be written behind the dot of this transaction. */
  private goAhead(behind: Behind): string {
    if (behind === null) return ''
    if (behind === 'QUIT') {
      this.isLeaving = true
      return QUIT
    }
    const { envelope, mail } = behind
    const plan = planEnvelope(envelope, mail, this.link.extensions)
    // Refused here: it is told so when its turn comes.
    if (plan.refusal !== null || plan.asked.length === 0) return ''
    this.ahead = { mail, plan, repliesBefore: this.wire.repliesRead + 1 }
    return commandsOf(plan)
  }

  /**
   * The reply to the dot is none: it is that to QUIT, or the answer to the DATA that is out has come before all that go before
   * it, and one of those was taken for the dot's.
   */
  private isAnothers(reply: Reply): boolean {
    if (this.isLeaving) return reply.code === 221
    const come = this.ahead === null ? null : this.wire.unaskedUpTo(354)
    return come !== null && come < this.ahead!.plan.asked.length + 2
  }

  /**
   * A server that takes DATA without a recipient is owed a lone dot (RFC 2920 §3.1) and should answer with a refusal.
   * Whatever it answers, nothing was sent.
   */
  private async endEmptyData(progress: Progress): Promise<null> {
    progress.phase = 'data'
    this.wire.write('.\r\n')
    const [reply] = await this.wire.replies(1, this.timeouts.commandTimeoutMs)
    if (reply!.code === 421 || !(isAcceptance(reply!) || isRefusal(reply!))) this.wire.drop()
    return null
  }

  private result(startedAt: number, replies: EnvelopeReplies, data: Reply | null, reachedData: boolean): Replies {
    return {
      mail: replies.mail,
      recipients: replies.recipients,
      data,
      reachedData,
      remote: this.link.remote,
      durationMs: this.clock.monotonic() - startedAt,
    }
  }
}

const QUIT = 'QUIT\r\n'

/** Of the commands of an envelope in the order in which they go out. */
function phaseOf(index: number, { asked }: AskedPlan, resets: number): SmtpPhase {
  if (index < resets) return 'rset'
  if (index === resets) return 'mail'
  return index <= resets + asked.length ? 'rcpt' : 'data'
}

function commandsOf({ mailCommand, asked }: AskedPlan): string {
  let commands = mailCommand
  for (const address of asked) commands += `RCPT TO:<${address}>\r\n`
  return `${commands}DATA\r\n`
}

/** `replies`: those of `plan.asked`, as far as they were asked. */
function sortReplies(
  envelope: Envelope,
  plan: AskedPlan,
  mail: Reply,
  replies: readonly Reply[],
  data: Reply | null,
): EnvelopeReplies {
  const refused = isRefusal(mail)
  let next = 0
  let anyAccepted = false
  const recipients = envelope.to.map((address, i) => {
    const here = plan.refusedHere?.[i] ?? null
    if (here !== null) return { address, reply: here }
    const reply = replies[next++] ?? null
    // The recipients of a refused sender get a 503 for want of MAIL, which says nothing about them.
    if (refused || reply === null) return { address, reply: null }
    if (isAcceptance(reply)) anyAccepted = true
    return { address, reply }
  })
  return { mail: refused ? mail : null, recipients, anyAccepted, data }
}

function refusedAll(envelope: Envelope, mail: Reply): EnvelopeReplies {
  return { mail, recipients: envelope.to.map(address => ({ address, reply: null })), anyAccepted: false, data: null }
}

function nobodyAsked(envelope: Envelope, plan: AskedPlan): EnvelopeReplies {
  const recipients = envelope.to.map((address, i) => ({ address, reply: plan.refusedHere?.[i] ?? null }))
  return { mail: null, recipients, anyAccepted: false, data: null }
}
