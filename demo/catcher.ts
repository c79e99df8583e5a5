/**
 * The mail provider of the demo: an SMTP server with a login that keeps what it is given and passes nothing on. It is
 * as awkward as real ones: one address unknown, one greylisted, and a little slow.
 */
import { randomBytes } from 'node:crypto'
import { type SinkMessage, startSink } from '../test/support/smtp-sink.js'
import { GREYLISTED, REFUSED } from './messages.js'

/** How long it thinks before it takes responsibility for a message, in milliseconds. */
export const THINKING_MS = 100

export interface Catcher {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  /** What it answered 250 to, in order. */
  readonly caught: readonly SinkMessage[]
  close(): Promise<void>
}

export async function startCatcher(): Promise<Catcher> {
  const user = 'shop'
  const password = randomBytes(12).toString('base64url')
  const sink = await startSink({
    record: 'messages',
    auth: ['PLAIN'],
    users: { [user]: password },
    behave: {
      rcpt({ address, n }) {
        if (address === REFUSED) return '550 5.1.1 No such mailbox'
        if (address === GREYLISTED && n === 1) return '451 4.7.1 Greylisted, please try again later'
        return null
      },
      final: () => ({ delayMs: THINKING_MS }),
    },
  })
  return {
    host: sink.host,
    port: sink.port,
    user,
    password,
    get caught() {
      return sink.messages
    },
    close: () => sink.close(),
  }
}
