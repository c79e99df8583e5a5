/**
 * A socket as SMTP sees it: commands out, whole replies in, one time limit at a time. Breaks at most
 * once, for good: by a time-out, the peer, octets that are no reply, or a reply nobody asked for.
 * One timer a connection, set anew only when it would fire too late: most commands set none.
 */
import type { Socket } from 'node:net'
import type { Clock } from '../lib/clock.js'
import { remember } from '../lib/remember.js'
import { readDirectly } from './direct-reads.js'
import { ReplyParser } from './reply.js'
import type { Reply } from './transport.js'

/** Why a wire broke. `garbled`: the peer is out of step. `stopped`: this side wanted it. */
export class WireBroken extends Error {
  override name = 'WireBroken'
  constructor(
    readonly kind: 'timeout' | 'closed' | 'garbled' | 'stopped',
    message: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause })
  }
}

export interface WireTap {
  said(commands: string): void
  /** Of the content, how much of it. */
  sent(octets: number): void
  received(reply: Reply): void
}

interface Waiter {
  readonly count: number
  readonly timeoutMs: number
  readonly resolve: (replies: Reply[]) => void
  readonly reject: (error: WireBroken) => void
}

const maxTimerMs = 2 ** 31 - 1

/**
 * One for each of the few reasons, for what ends well ends so too, and a stack costs 8 µs. It has none: it would hold on to
 * the wire that was the first.
 */
const stopped = remember(reason => Object.assign(new WireBroken('stopped', reason), { stack: `WireBroken: ${reason}` }))

export class Wire {
  /** Replies read and not yet taken. */
  private arrived: Reply[] = []
  private waiter: Waiter | null = null
  private readonly listeners = {
    drain: () => this.onDrain(),
    error: (error: Error) => this.break('closed', `the connection broke: ${codeOf(error)}`, error),
    end: () => this.break('closed', 'the server closed the connection'),
    close: () => this.break('closed', 'the connection was closed'),
  }
  private stopReading: () => void = () => {}
  private drainWaiter: { resolve: () => void; reject: (error: WireBroken) => void } | null = null
  private readonly parser = new ReplyParser(reply => this.onReply(reply))
  private isClosing = false
  private deadline = Number.POSITIVE_INFINITY
  private timer: NodeJS.Timeout | null = null
  private timerDue = Number.POSITIVE_INFINITY
  /** Set once the wire can carry nothing more. */
  broken: WireBroken | null = null
  /** Between transactions: whatever the peer says then breaks the wire. */
  idle = true
  /** Replies read since the connection was opened. */
  repliesRead = 0
  /** Called once, when the wire breaks. */
  onBroken: ((error: WireBroken) => void) | null = null
  /** Hears what is said while somebody keeps it. */
  tap: WireTap | null = null

  constructor(
    private socket: Socket,
    private readonly clock: Clock,
  ) {
    this.listen()
  }

  /** Has each line as the server says it; null: nobody listens. */
  set onLine(hear: ((line: string) => void) | null) {
    this.parser.onLine = hear
  }

  /**
   * From now on through `encrypted`, TLS upon this wire's socket. What was said in clear and not taken is forgotten: it need not
   * be the server's (RFC 3207 §6). Throws WireBroken.
   */
  encrypt(encrypted: (clear: Socket) => Socket): void {
    if (this.broken !== null) throw this.broken
    const clear = this.socket
    this.stopReading()
    // Closed for TLS that does not fit, the socket below says so before the one above says why.
    for (const [event, listener] of Object.entries(this.listeners)) clear.removeListener(event, listener)
    this.arrived = []
    this.parser.reset()
    this.socket = encrypted(clear)
    this.listen()
  }

  /** Throws WireBroken. */
  command(commands: string): void {
    if (this.broken !== null) throw this.broken
    this.tap?.said(commands)
    this.socket.write(commands)
  }

  /**
   * Hands octets to the socket, of a string one a character; false when its buffer is full and `drained` should be
   * awaited. Throws WireBroken.
   */
  write(content: string | Buffer): boolean {
    if (this.broken !== null) throw this.broken
    this.tap?.sent(content.length)
    return typeof content === 'string' ? this.socket.write(content, 'latin1') : this.socket.write(content)
  }

  /**
   * The next `count` replies; fewer when the last is a 421, after which the server closes (RFC 5321 §3.8).
   * The limit counts anew from each reply. Rejects with WireBroken.
   */
  replies(count: number, timeoutMs: number): Promise<Reply[]> {
    return new Promise((resolve, reject) => {
      this.waiter = { count, timeoutMs, resolve, reject }
      if (this.isSatisfied()) this.satisfy()
      else if (this.broken !== null) this.rejectWaiter(this.broken)
      else this.limit(timeoutMs)
    })
  }

  /** The next `count` replies if all of them have come; else null. */
  repliesAtHand(count: number): Reply[] | null {
    return this.arrived.length < count ? null : this.take(count)
  }

  /** Resolves when the socket's own buffer is empty; rejects with WireBroken. */
  drained(): Promise<void> {
    if (this.broken !== null) return Promise.reject(this.broken)
    if (!this.socket.writableNeedDrain) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.drainWaiter = { resolve, reject }
    })
  }

  /** Breaks the wire unless something moves within `timeoutMs`; null lifts the limit. */
  limit(timeoutMs: number | null): void {
    if (timeoutMs === null) {
      this.deadline = Number.POSITIVE_INFINITY
      return
    }
    this.deadline = this.clock.monotonic() + timeoutMs
    if (this.timer === null || this.timerDue > this.deadline) this.arm(timeoutMs)
  }

  /** How many replies were read that nobody has taken, if this is the code of the last; else null. */
  unaskedUpTo(code: number): number | null {
    return this.arrived.at(-1)?.code === code ? this.arrived.length : null
  }

  /** Takes a reply that came before it was asked for, as a server that has seen enough of a body sends. */
  takeUnasked(): Reply | null {
    return this.arrived.shift() ?? null
  }

  /** True when the next transaction may use it. */
  get isReusable(): boolean {
    return this.broken === null && !this.isClosing && this.arrived.length === 0 && !this.parser.isPartial
  }

  /** Drops the connection without a word. */
  drop(reason = 'the connection was dropped'): void {
    this.break('stopped', reason)
  }

  private listen(): void {
    const { socket } = this
    this.stopReading = readDirectly(socket, octets => this.onData(octets))
    for (const [event, listener] of Object.entries(this.listeners)) socket.on(event, listener)
    if (socket.destroyed || socket.readableEnded) this.break('closed', 'the connection was closed')
    socket.resume()
  }

  private onData(octets: string): void {
    if (this.broken !== null) return
    if (!this.parser.feed(octets)) this.break('garbled', 'the server answered with something that is no SMTP reply')
    else if (this.idle) this.break('garbled', 'the server spoke without being asked')
  }

  private onReply(reply: Reply): void {
    this.repliesRead++
    this.tap?.received(reply)
    this.arrived.push(reply)
    if (reply.code === 421) this.isClosing = true
    if (this.waiter === null) {
      // Whoever waits for room to write more should hear of it first: no room may ever come.
      this.onDrain()
      return
    }
    if (this.isSatisfied()) this.satisfy()
    else this.limit(this.waiter.timeoutMs)
  }

  private isSatisfied(): boolean {
    return this.arrived.length >= this.waiter!.count || this.isClosing
  }

  private satisfy(): void {
    const { count, resolve } = this.waiter!
    this.waiter = null
    this.deadline = Number.POSITIVE_INFINITY
    resolve(this.take(count))
  }

  private take(count: number): Reply[] {
    if (this.arrived.length > count) return this.arrived.splice(0, count)
    const all = this.arrived
    this.arrived = []
    return all
  }

  private onDrain(): void {
    this.drainWaiter?.resolve()
    this.drainWaiter = null
  }

  private arm(delayMs: number): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timerDue = this.clock.monotonic() + delayMs
    this.timer = setTimeout(() => this.onTimer(), Math.min(Math.ceil(delayMs), maxTimerMs))
    this.timer.unref()
  }

  private onTimer(): void {
    this.timer = null
    this.timerDue = Number.POSITIVE_INFINITY
    if (this.deadline === Number.POSITIVE_INFINITY) return
    const remaining = this.deadline - this.clock.monotonic()
    if (remaining <= 0) this.break('timeout', 'the server did not answer in time')
    else this.arm(remaining)
  }

  private break(kind: WireBroken['kind'], message: string, cause?: unknown): void {
    if (this.broken !== null) return
    const error = kind === 'stopped' ? stopped(message) : new WireBroken(kind, message, cause)
    this.broken = error
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
    this.socket.destroy()
    this.rejectWaiter(error)
    this.drainWaiter?.reject(error)
    this.drainWaiter = null
    this.onBroken?.(error)
  }

  private rejectWaiter(error: WireBroken): void {
    this.waiter?.reject(error)
    this.waiter = null
  }
}

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message
}
