/**
 * The commands of a login, each answered before the next one: how far it has come, what the server said, and one time
 * limit over all of it, so that a server that trickles gains nothing.
 */
import type { Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { Clock } from '../lib/clock.js'
import type { Conversation } from './conversation.js'
import type { Reply, SmtpPhase } from './transport.js'
import { Wire, WireBroken } from './wire.js'

/** The server said no, or something that is no answer to what it was asked. */
export class LoginRefused extends Error {
  override name = 'LoginRefused'
  constructor(readonly reply: Reply) {
    super('the server refused the login')
  }
}

export class Dialogue {
  readonly wire: Wire
  phase: SmtpPhase = 'greeting'
  isEncrypted = false
  private heard: string[] = []
  private readonly deadline: number

  constructor(
    socket: Socket,
    private readonly clock: Clock,
    timeoutMs: number,
    private readonly conversation: Conversation,
  ) {
    this.deadline = clock.monotonic() + timeoutMs
    this.wire = new Wire(socket, clock)
    this.wire.idle = false
    this.wire.onLine = line => {
      this.heard.push(line)
      conversation.heard(line)
    }
  }

  /** What the server says first. Rejects with WireBroken, as what follows does. */
  async greeting(): Promise<Reply> {
    this.phase = 'greeting'
    return this.reply()
  }

  /** `shown`: what people may read in place of the command. Rejects with LoginRefused where an answer was there before. */
  async ask(phase: SmtpPhase, command: string, shown = command): Promise<Reply> {
    this.phase = phase
    const early = this.wire.takeUnasked()
    if (early !== null) throw new LoginRefused(early)
    this.heard = []
    this.conversation.said(shown)
    this.wire.command(`${command}\r\n`)
    return this.reply()
  }

  /** The lines of the last reply behind its first, without their code. */
  get linesBehindFirst(): string[] {
    const last = this.heard.findIndex(line => line[3] !== '-')
    return this.heard.slice(1, last + 1).map(line => line.slice(4))
  }

  async startTls(options: ConnectionOptions): Promise<void> {
    const { wire } = this
    this.phase = 'tls'
    await new Promise<void>((resolve, reject) => {
      wire.encrypt(socket => connectTls({ ...options, socket }, resolve))
      wire.onBroken = reject
      if (wire.broken !== null) reject(wire.broken)
      wire.limit(this.remainingMs())
    })
    wire.onBroken = null
    wire.limit(null)
    this.isEncrypted = true
  }

  /** The wire as transactions take it over. Throws WireBroken when the server has said more than it was asked. */
  end(): Wire {
    const { wire } = this
    if (!wire.isReusable) throw wire.broken ?? new WireBroken('garbled', 'the server said more than it was asked')
    wire.onLine = null
    wire.idle = true
    return wire
  }

  private async reply(): Promise<Reply> {
    const [reply] = await this.wire.replies(1, this.remainingMs())
    return reply!
  }

  private remainingMs(): number {
    return this.deadline - this.clock.monotonic()
  }
}
