/** An SMTP server in the bench's own process, so that one clock sees a message submitted and its DATA arrive. */
import { startSink } from '../test/support/smtp-sink.js'

export interface Arrivals {
  readonly port: number
  /** When the DATA of the mail to this address came, by Date.now() with a fraction. */
  of(address: string): Promise<number>
  close(): Promise<void>
}

export function now(): number {
  return performance.timeOrigin + performance.now()
}

export async function startArrivals(): Promise<Arrivals> {
  const addressed = new Map<number, string>()
  const at = new Map<string, number>()
  const waiting = new Map<string, (at: number) => void>()
  const sink = await startSink({
    record: 'count',
    behave: {
      rcpt({ connectionId, address }) {
        addressed.set(connectionId, address)
        return null
      },
      data({ connectionId }) {
        const address = addressed.get(connectionId) ?? ''
        const came = now()
        at.set(address, came)
        waiting.get(address)?.(came)
        return null
      },
    },
  })
  return {
    port: sink.port,
    of: address =>
      new Promise(resolve => {
        const came = at.get(address)
        if (came !== undefined) resolve(came)
        else waiting.set(address, resolve)
      }),
    close: () => sink.close(),
  }
}
