/**
 * An SMTP server for tests and benches that can misbehave at every step: `behave` answers in its place, late, wrongly,
 * byte by byte, or not at all. Records each command and each accepted message. Over node:net and node:tls alone.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { Certificate } from './certificate.js'
import { SinkConnection } from './smtp-sink-connection.js'

export type SinkPhase =
  | 'greeting'
  | 'ehlo'
  | 'starttls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'body'
  | 'final'
  | 'rset'
  | 'noop'
  | 'quit'

/** What a behaviour is told. `n` counts from 1: this address at `mail` and `rcpt`, else this phase on all connections. */
export interface SinkEvent {
  readonly phase: SinkPhase
  readonly n: number
  readonly connectionId: number
  readonly address: string
  readonly line: string
  /** At `final` what was received, as it was before dot-stuffing; empty elsewhere. */
  readonly content: Buffer
}

/**
 * null: as a good server would. A string: these lines instead (CRLF is added). `silent`: nothing more, ever.
 * `cut`: the connection is destroyed; at `final` with `keep` the message counts as accepted first.
 */
export type SinkAction =
  | null
  | undefined
  | string
  | { readonly silent: true }
  | { readonly cut: true; readonly keep?: boolean; readonly reply?: string }
  | { readonly delayMs: number; readonly reply?: string | null }

export type SinkBehaviour = Partial<Record<SinkPhase, (event: SinkEvent) => SinkAction>>

export interface SinkMessage {
  readonly from: string
  readonly to: readonly string[]
  /** As it was before dot-stuffing. Empty when contents are not recorded. */
  readonly raw: Buffer
  /** Epoch milliseconds at which the final dot was read. */
  readonly at: number
  readonly tls: boolean
  readonly authUser: string | null
  readonly connectionId: number
  /** What followed the address in MAIL FROM. */
  readonly mailParameters: string
}

export interface SinkCommand {
  readonly connectionId: number
  readonly line: string
  readonly tls: boolean
}

export interface SinkOptions {
  readonly pipelining?: boolean
  /** Announced limit in octets; 0: SIZE without one; null: not announced. */
  readonly size?: number | null
  readonly eightBitMime?: boolean
  readonly smtpUtf8?: boolean
  /** Offers STARTTLS, or speaks TLS from the start. */
  readonly tls?: 'starttls' | 'implicit' | null
  readonly certificate?: Certificate
  /** Mechanisms offered; empty: no AUTH. */
  readonly auth?: readonly ('PLAIN' | 'LOGIN' | 'CRAM-MD5' | 'XOAUTH2' | 'OAUTHBEARER')[]
  /** user → password. May be changed through `sink.users` while it runs. */
  readonly users?: Readonly<Record<string, string>>
  /** Whether an access token opens the mailbox of this user, for XOAUTH2 and OAUTHBEARER. */
  readonly isTokenGood?: (token: string, user: string) => boolean
  readonly maxRecipients?: number
  readonly oneByteReplies?: boolean
  /** all: commands and contents. messages: no commands. count: nothing but figures (for benches). */
  readonly record?: 'all' | 'messages' | 'count'
  readonly behave?: SinkBehaviour
  readonly port?: number
}

/** What connections share with their sink. */
export interface SinkState {
  readonly options: Required<
    Pick<SinkOptions, 'pipelining' | 'eightBitMime' | 'smtpUtf8' | 'oneByteReplies' | 'record' | 'auth'>
  > &
    SinkOptions
  readonly secureContext: SecureContext | null
  readonly users: Map<string, string>
  behave: SinkBehaviour
  readonly messages: SinkMessage[]
  readonly commands: SinkCommand[]
  accepted: number
  count(phase: SinkPhase, address: string): number
  onMessage(message: SinkMessage | null): void
}

export class SmtpSink {
  readonly host = '127.0.0.1'
  readonly users: Map<string, string>
  private readonly state: SinkState
  private readonly sockets = new Set<Socket>()
  private readonly counts = new Map<string, number>()
  private waiters: { n: number; resolve: () => void }[] = []
  /** Connections ever accepted. */
  connections = 0
  port = 0

  constructor(
    private readonly server: Server,
    options: SinkOptions,
  ) {
    this.users = new Map(Object.entries(options.users ?? {}))
    this.state = {
      options: {
        pipelining: true,
        eightBitMime: true,
        smtpUtf8: true,
        oneByteReplies: false,
        record: 'all',
        auth: [],
        size: 0,
        ...options,
      },
      secureContext: options.certificate ? createSecureContext(options.certificate) : null,
      users: this.users,
      behave: options.behave ?? {},
      messages: [],
      commands: [],
      accepted: 0,
      count: (phase, address) => {
        const key = `${phase} ${address}`
        const n = (this.counts.get(key) ?? 0) + 1
        this.counts.set(key, n)
        return n
      },
      onMessage: message => this.onMessage(message),
    }
    server.on('connection', socket => {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket)).on('error', () => {})
      new SinkConnection(socket, ++this.connections, this.state)
    })
  }

  /** Messages taken with a 250, in order. */
  get messages(): readonly SinkMessage[] {
    return this.state.messages
  }

  get commands(): readonly SinkCommand[] {
    return this.state.commands
  }

  /** Number of messages taken, also when they are not recorded. */
  get accepted(): number {
    return this.state.accepted
  }

  get openConnections(): number {
    return this.sockets.size
  }

  /** How many commands began with this verb. */
  countOf(verb: string): number {
    return this.commands.filter(({ line }) => line.toUpperCase().startsWith(verb.toUpperCase())).length
  }

  /** Replaces the behaviour, also for connections that stand. */
  behave(behaviour: SinkBehaviour): void {
    this.state.behave = behaviour
  }

  /** Resolves when `n` messages have been accepted in all; rejects after `withinMs`. */
  waitFor(n: number, withinMs = 30_000): Promise<void> {
    if (this.accepted >= n) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the sink has ${this.accepted} of ${n} messages`)), withinMs)
      this.waiters.push({
        n,
        resolve: () => {
          clearTimeout(timer)
          resolve()
        },
      })
    })
  }

  /** Hangs up on everyone, as a restarting server does. */
  dropAll(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  /** Says something nobody asked for, on every connection in clear. */
  sayToAll(text: string): void {
    for (const socket of this.sockets) socket.write(text)
  }

  async close(): Promise<void> {
    this.dropAll()
    await new Promise(resolve => this.server.close(resolve))
  }

  private onMessage(message: SinkMessage | null): void {
    this.state.accepted++
    if (message !== null) this.state.messages.push(message)
    if (this.waiters.length === 0) return
    for (const waiter of this.waiters) if (this.accepted >= waiter.n) waiter.resolve()
    this.waiters = this.waiters.filter(({ n }) => this.accepted < n)
  }
}

/** Starts a sink on 127.0.0.1 and a free port, unless one is given. */
export async function startSink(options: SinkOptions = {}): Promise<SmtpSink> {
  const server = createServer({ noDelay: true })
  const sink = new SmtpSink(server, options)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, sink.host, resolve)
  })
  const address = server.address()
  sink.port = typeof address === 'object' && address !== null ? address.port : 0
  return sink
}

/** Greylisting: each recipient is put off `times` times before it is taken. */
export function greylist(times = 1): SinkBehaviour {
  return { rcpt: ({ n }) => (n <= times ? '451 4.7.1 Greylisted, please try again later' : null) }
}
