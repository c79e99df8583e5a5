/**
 * Faults between the service and an SMTP server, by the phase in which they come: a proxy that reads along which command
 * each reply answers, also of commands that were sent ahead. What follows STARTTLS it cannot read, and lets it pass.
 */
import type { Link, Script } from './proxy.js'

export type WirePhase = 'greeting' | 'ehlo' | 'starttls' | 'auth' | 'mail' | 'rcpt' | 'data' | 'body' | 'final' | 'quit'

/** What the client gets in place of this reply, or of none in the middle of a content; null: nothing. */
export type Fault = (reply: string, link: Link) => string | null

/** Asked for each reply; `n` counts the phase over all links from 1. null: as the server said it. */
export type FaultAt = (phase: WirePhase, n: number) => Fault | null

const COMMANDS: Readonly<Record<string, WirePhase>> = {
  EHLO: 'ehlo',
  HELO: 'ehlo',
  STAR: 'starttls',
  AUTH: 'auth',
  MAIL: 'mail',
  RCPT: 'rcpt',
  DATA: 'data',
  QUIT: 'quit',
}

/** For `startProxy`. A reply to anything else (RSET) passes. */
export function smtpScript(faultAt: FaultAt): () => Script {
  const counts = new Map<WirePhase, number>()
  const faultOf = (phase: WirePhase): Fault | null => {
    const n = (counts.get(phase) ?? 0) + 1
    counts.set(phase, n)
    return faultAt(phase, n)
  }
  return () => {
    const asked: (WirePhase | 'rset')[] = ['greeting']
    let said = ''
    let heard = ''
    let state: 'commands' | 'content' | 'sealed' = 'commands'
    let sawContent = false

    const readCommands = () => {
      for (;;) {
        // The line break before a lone dot may be that of DATA.
        const end = state === 'content' ? /(?:^|\r\n)\.\r\n/.exec(said) : /\r\n/.exec(said)
        if (end === null) return
        const line = said.slice(0, end.index)
        said = said.slice(end.index + end[0].length)
        if (state === 'content') {
          asked.push('final')
          state = 'commands'
        } else asked.push(COMMANDS[line.slice(0, 4).toUpperCase()] ?? (asked.at(-1) === 'auth' ? 'auth' : 'rset'))
      }
    }
    return {
      fromClient(chunk, link) {
        if (state === 'sealed') return chunk
        said += chunk.toString('latin1')
        if (state === 'content' && !sawContent) {
          sawContent = true
          const fault = faultOf('body')
          if (fault !== null) {
            const words = fault('', link)
            if (words !== null) link.toClient(Buffer.from(words, 'latin1'))
            return null
          }
        }
        readCommands()
        return chunk
      },
      fromServer(chunk, link) {
        if (state === 'sealed') return chunk
        heard += chunk.toString('latin1')
        let out = ''
        for (let found = firstReply(heard); found !== null; found = firstReply(heard)) {
          heard = heard.slice(found.length)
          const phase = asked.shift() ?? 'rset'
          const fault = phase === 'rset' ? null : faultOf(phase)
          if (phase === 'starttls' && found.startsWith('220')) state = 'sealed'
          if (phase === 'data' && found.startsWith('354')) {
            state = 'content'
            sawContent = false
            readCommands()
          }
          if (fault === null) out += found
          else {
            // What came before it must not be lost with it.
            if (out !== '') link.toClient(Buffer.from(out, 'latin1'))
            out = fault(found, link) ?? ''
          }
        }
        return Buffer.from(out, 'latin1')
      },
    }
  }
}

/** The first reply of the text, all its lines. */
function firstReply(text: string): string | null {
  return /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/.exec(text)?.[0] ?? null
}

export const reset: Fault = (_reply, link) => {
  link.reset()
  return null
}

export const halfOpen: Fault = (_reply, link) => {
  link.freeze()
  return null
}

/** This reply and all after it, so many octets every `everyMs`. */
export const dripping =
  (everyMs: number, octets: number): Fault =>
  (reply, link) => {
    link.slow(everyMs, octets)
    return reply
  }

export const garbage: Fault = () => '\x16\x03\x01 this is no SMTP\xff\r\n'
/** Longer than what any reader of replies takes, here and in nodemailer, and without an end. */
export const overlong: Fault = () => `250 ${'x'.repeat(80_000)}`
/** The code with so many lines that it never comes to its end. */
export const endless: Fault = reply => `${reply.slice(0, 3)}-x\r\n`.repeat(20_000)
export const twice: Fault = reply => reply + reply
export const omitted: Fault = () => null
export const says =
  (words: string): Fault =>
  () =>
    `${words}\r\n`
