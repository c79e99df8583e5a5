/** One connection of the SMTP sink: reads commands and contents, asks the behaviour, answers in batches. */
import { createHmac } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { SinkAction, SinkPhase, SinkState } from './smtp-sink.js'

const endOfData = Buffer.from('\r\n.\r\n')
const nothing = Buffer.alloc(0)

export class SinkConnection {
  private buffer: Buffer = nothing
  private out = ''
  /** Set while an answer is late or will never come: what was sent meanwhile waits. */
  private isHeld = false
  private isTls = false
  private authUser: string | null = null
  private authStep: ((line: string) => string) | null = null
  private from: string | null = null
  private mailParameters = ''
  private to: string[] = []
  private content: Buffer[] | null = null
  private sawBody = false
  private dripping: Promise<void> = Promise.resolve()

  constructor(
    private socket: Socket,
    private readonly id: number,
    private readonly state: SinkState,
  ) {
    if (state.options.tls === 'implicit') this.startTls(() => this.greet())
    else {
      this.listen()
      this.greet()
    }
  }

  private greet(): void {
    this.answer('greeting', '', '220 sink.test ESMTP', () => {})
    this.flush()
  }

  private listen(): void {
    this.socket.on('data', chunk => {
      this.buffer = this.buffer.length === 0 ? chunk : Buffer.concat([this.buffer, chunk])
      if (!this.isHeld) this.process()
    })
  }

  private process(): void {
    while (!this.isHeld && this.buffer.length > 0 && (this.content !== null ? this.readContent() : this.readLine())) {
      // Each turn took one command or one content.
    }
    this.flush()
  }

  private readLine(): boolean {
    const end = this.buffer.indexOf(10)
    if (end === -1) return false
    const line = this.buffer.toString('utf8', 0, end > 0 && this.buffer[end - 1] === 13 ? end - 1 : end)
    this.buffer = this.buffer.subarray(end + 1)
    if (this.state.options.record === 'all') this.state.commands.push({ connectionId: this.id, line, tls: this.isTls })
    if (this.authStep !== null) this.answer('auth', line, this.authStep(line), () => {})
    else this.command(line)
    return true
  }

  private command(line: string): void {
    const verb = line.slice(0, 4).toUpperCase()
    if (verb === 'MAIL') this.mail(line)
    else if (verb === 'RCPT') this.rcpt(line)
    else if (verb === 'DATA') this.data(line)
    else if (verb === 'EHLO') this.answer('ehlo', line, this.ehloLines(), () => this.reset())
    else if (verb === 'HELO') this.answer('ehlo', line, '250 sink.test', () => this.reset())
    else if (verb === 'RSET') this.answer('rset', line, '250 2.0.0 Reset', () => this.reset())
    else if (verb === 'NOOP') this.answer('noop', line, '250 2.0.0 Ok', () => {})
    else if (verb === 'AUTH') this.answer('auth', line, this.auth(line), () => {})
    else if (verb === 'QUIT') this.quit(line)
    else if (/^STARTTLS$/i.test(line)) this.startTlsOnRequest(line)
    else this.out += '500 5.5.2 Unknown command\r\n'
  }

  private quit(line: string): void {
    this.answer('quit', line, '221 2.0.0 Bye', () => {
      this.flush()
      void this.dripping.then(() => this.socket.end())
      this.isHeld = true
    })
  }

  private startTlsOnRequest(line: string): void {
    const offered = this.state.options.tls === 'starttls' && !this.isTls
    this.answer('starttls', line, offered ? '220 2.0.0 Ready' : '502 5.5.1 Not offered', reply => {
      if (!reply.startsWith('220')) return
      this.flush()
      this.socket.removeAllListeners('data')
      this.startTls(() => {})
    })
  }

  private mail(line: string): void {
    const [, address, parameters] = /^MAIL FROM:<([^>]*)>\s*(.*)$/i.exec(line) ?? []
    const good =
      address === undefined ? '501 5.5.4 Syntax' : this.from !== null ? '503 5.5.1 Nested MAIL' : '250 2.1.0 Ok'
    this.answer(
      'mail',
      line,
      good,
      reply => {
        if (!reply.startsWith('2')) return
        this.from = address ?? ''
        this.mailParameters = parameters ?? ''
      },
      address,
    )
  }

  private rcpt(line: string): void {
    const [, address] = /^RCPT TO:<([^>]+)>/i.exec(line) ?? []
    const { maxRecipients } = this.state.options
    const good =
      this.from === null
        ? '503 5.5.1 MAIL first'
        : address === undefined
          ? '501 5.5.4 Syntax'
          : maxRecipients !== undefined && this.to.length >= maxRecipients
            ? '452 4.5.3 Too many recipients'
            : '250 2.1.5 Ok'
    this.answer(
      'rcpt',
      line,
      good,
      reply => {
        if (reply.startsWith('2')) this.to.push(address ?? '')
      },
      address,
    )
  }

  private data(line: string): void {
    const good =
      this.to.length > 0
        ? '354 Go ahead'
        : this.from === null
          ? '503 5.5.1 MAIL first'
          : '554 5.5.1 No valid recipients'
    this.answer('data', line, good, reply => {
      if (!reply.startsWith('3')) return
      this.content = []
      this.sawBody = false
    })
  }

  /** True when the end of the content was found. */
  private readContent(): boolean {
    const content = this.content!
    if (!this.sawBody) {
      this.sawBody = true
      if (this.state.behave.body) {
        this.answer('body', '', '', () => {})
        if (this.isHeld) return false
      }
    }
    // The end may lie across chunks, and a content may be nothing but its end.
    const tail = content.pop() ?? Buffer.from('\r\n')
    const bytes = Buffer.concat([tail, this.buffer])
    const end = bytes.indexOf(endOfData)
    if (end === -1) {
      const kept = Math.min(4, bytes.length)
      content.push(bytes.subarray(0, bytes.length - kept), bytes.subarray(bytes.length - kept))
      this.buffer = nothing
      return false
    }
    this.buffer = bytes.subarray(end + endOfData.length)
    content.push(bytes.subarray(0, end + 2))
    this.content = null
    this.final(content)
    return true
  }

  private final(content: Buffer[]): void {
    const hasRecipients = this.to.length > 0
    const good = hasRecipients ? '250 2.0.0 Accepted' : '554 5.5.1 No valid recipients'
    const then = (reply: string) => {
      if (reply.startsWith('2') && hasRecipients) this.accept(content)
      this.reset()
    }
    this.answer('final', '', good, then, '', content)
  }

  private accept(content: Buffer[]): void {
    if (this.state.options.record === 'count') {
      this.state.onMessage(null)
      return
    }
    this.state.onMessage({
      from: this.from ?? '',
      to: this.to,
      raw: mailOf(content),
      at: Date.now(),
      tls: this.isTls,
      authUser: this.authUser,
      connectionId: this.id,
      mailParameters: this.mailParameters,
    })
  }

  private reset(): void {
    this.from = null
    this.to = []
    this.mailParameters = ''
  }

  private ehloLines(): string {
    const { options } = this.state
    const lines = ['sink.test']
    if (options.pipelining) lines.push('PIPELINING')
    if (options.size !== null) lines.push(options.size ? `SIZE ${options.size}` : 'SIZE')
    if (options.eightBitMime) lines.push('8BITMIME')
    if (options.smtpUtf8) lines.push('SMTPUTF8')
    if (options.tls === 'starttls' && !this.isTls) lines.push('STARTTLS')
    if (options.auth.length > 0) lines.push(`AUTH ${options.auth.join(' ')}`)
    lines.push('ENHANCEDSTATUSCODES')
    return lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`).join('\r\n')
  }

  private auth(line: string): string {
    const [, mechanism = '', initial] = line.split(' ')
    if (mechanism.toUpperCase() === 'PLAIN') {
      const check = (response: string) => {
        const [, user = '', password = ''] = decode(response).split('\0')
        return this.judge(user, this.state.users.get(user) === password)
      }
      if (initial !== undefined) return check(initial)
      this.authStep = check
      return '334 '
    }
    if (mechanism.toUpperCase() === 'LOGIN') {
      this.authStep = user => {
        this.authStep = password => this.judge(decode(user), this.state.users.get(decode(user)) === decode(password))
        return '334 UGFzc3dvcmQ6'
      }
      return '334 VXNlcm5hbWU6'
    }
    if (mechanism.toUpperCase() === 'CRAM-MD5') {
      const challenge = `<${this.id}.${Date.now()}@sink.test>`
      this.authStep = response => {
        const [user = '', digest = ''] = decode(response).split(' ')
        const expected = createHmac('md5', this.state.users.get(user) ?? '')
          .update(challenge)
          .digest('hex')
        return this.judge(user, this.state.users.has(user) && digest === expected)
      }
      return `334 ${Buffer.from(challenge).toString('base64')}`
    }
    if (/^(XOAUTH2|OAUTHBEARER)$/i.test(mechanism)) return this.bearer(mechanism.toUpperCase(), initial ?? '')
    return '504 5.5.4 Unknown mechanism'
  }

  /** As Gmail refuses: a challenge that says why, and the reply after what the client has to answer to it. */
  private bearer(mechanism: string, response: string): string {
    const text = decode(response)
    const [, user = '', token = ''] =
      (mechanism === 'XOAUTH2'
        ? /^user=([^\x01]+)\x01auth=Bearer ([^\x01]+)\x01\x01$/
        : /^n,a=([^,]+),\x01host=[^\x01]+\x01port=\d+\x01auth=Bearer ([^\x01]+)\x01\x01$/
      ).exec(text) ?? []
    if (token === '') return '501 5.5.2 Cannot decode the response'
    if (this.state.options.isTokenGood?.(token, user) === true) return this.judge(user, true)
    const dummy = mechanism === 'XOAUTH2' ? '' : 'AQ=='
    this.authStep = line => {
      this.authStep = null
      return line === dummy ? '535 5.7.8 Username and Password not accepted' : '501 5.5.2 Answer the challenge first'
    }
    return `334 ${Buffer.from('{"status":"401","schemes":"bearer","scope":"https://mail.test/"}').toString('base64')}`
  }

  private judge(user: string, isRight: boolean): string {
    this.authStep = null
    if (isRight) this.authUser = user
    return isRight ? '235 2.7.0 Authenticated' : '535 5.7.8 Authentication credentials invalid'
  }

  /** Asks the behaviour, answers, and runs `then` with the reply given; holds everything else back meanwhile. */
  private answer(
    phase: SinkPhase,
    line: string,
    good: string,
    then: (reply: string) => void,
    address = '',
    received?: Buffer[],
  ): void {
    const behaviour = this.state.behave[phase]
    if (behaviour === undefined) {
      this.reply(good, then)
      return
    }
    const n = this.state.count(phase, address)
    const content = received === undefined ? nothing : mailOf(received)
    const action: SinkAction = behaviour({ phase, n, connectionId: this.id, address, line, content }) ?? good
    if (typeof action === 'string') this.reply(action, then)
    else if ('cut' in action) this.cut(action, good, then)
    else if ('delayMs' in action) this.replyLate(action.delayMs, action.reply ?? good, then)
    else this.fallSilent()
  }

  /** Neither answers nor reads any more, so that the peer's writes come to a stop too. */
  private fallSilent(): void {
    this.isHeld = true
    this.flush()
    this.socket.pause()
  }

  private cut(action: { keep?: boolean; reply?: string }, good: string, then: (reply: string) => void): void {
    this.isHeld = true
    if (action.keep) then(good)
    // What was said before the cut goes out first, so that it can be read.
    if (action.reply !== undefined) this.out += `${action.reply}\r\n`
    this.flush()
    this.socket.destroySoon()
  }

  private replyLate(delayMs: number, text: string, then: (reply: string) => void): void {
    this.isHeld = true
    this.flush()
    setTimeout(() => {
      this.isHeld = false
      this.reply(text, then)
      this.process()
    }, delayMs).unref()
  }

  private reply(text: string, then: (reply: string) => void): void {
    if (text !== '') this.out += `${text}\r\n`
    then(text)
  }

  private flush(): void {
    if (this.out === '') return
    const text = this.out
    this.out = ''
    if (!this.state.options.oneByteReplies) {
      this.socket.write(text)
      return
    }
    const { socket } = this
    this.dripping = this.dripping.then(async () => {
      for (const octet of Buffer.from(text)) {
        socket.write(Buffer.of(octet))
        await new Promise(setImmediate)
      }
    })
  }

  private startTls(then: () => void): void {
    const { secureContext } = this.state
    if (secureContext === null) throw new Error('a sink with TLS needs a certificate')
    this.buffer = nothing
    this.socket = new TLSSocket(this.socket, { isServer: true, secureContext })
    this.socket.on('error', () => {})
    this.isTls = true
    this.listen()
    then()
  }
}

function decode(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8')
}

/** The content without the line break that stands for the beginning of a line, and before dot-stuffing. */
function mailOf(content: readonly Buffer[]): Buffer {
  return unstuff(Buffer.concat(content).subarray(2))
}

/** Removes the dot that transparency added to each line that begins with one (RFC 5321 §4.5.2). */
function unstuff(content: Buffer): Buffer {
  if (content[0] !== 46 && content.indexOf('\r\n.') === -1) return content
  return Buffer.from(content.toString('latin1').replace(/(^|\r\n)\./g, '$1'), 'latin1')
}
