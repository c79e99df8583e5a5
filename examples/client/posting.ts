/**
 * Takes the outbox to the mail proxy: at once when asked, and every few seconds what is left, so that neither a proxy that
 * was away nor a crash between order and submission keeps a mail back. Submitting again is harmless, by the ids.
 */
import type { MailProxyClient } from 'genro-mail-proxy/client'
import type { Store } from './store.js'

export interface Posting {
  /** Submits what waits; a proxy that cannot be reached is told in the log and asked again later. */
  submit(): Promise<void>
  stop(): Promise<void>
}

const EVERY_MS = 2000
const BATCH = 500
/** Not a fault of the message: it stays in the outbox. */
const LATER = new Set(['quota_exceeded', 'tenant_inactive'])
/** The proxy has it already. */
const FINE = new Set(['already_sent', 'in_progress'])

export function startPosting(store: Store, client: MailProxyClient): Posting {
  const stopped = new AbortController()
  let pending = 0
  let last: Promise<void> = Promise.resolve()

  const submitWaiting = async () => {
    for (;;) {
      const messages = store.waiting(BATCH)
      if (messages.length === 0) return
      const { rejected } = await client.addMessages(messages, { signal: stopped.signal })
      const later = new Set(rejected.filter(({ code }) => LATER.has(code)).map(({ id }) => id))
      const answered = messages.filter(({ id }) => !later.has(id))
      const refused = rejected.filter(({ code }) => !FINE.has(code))
      store.markSubmitted(answered, refused)
      // The proxy sends by itself; this only saves the time until it looks again.
      await client.runNow({ signal: stopped.signal })
      if (later.size > 0) return
    }
  }
  const say = (error: Error) => {
    if (!stopped.signal.aborted) process.stderr.write(`Not submitted, will be tried again: ${error.message}\n`)
  }
  // One after another: what is written meanwhile is found by the next.
  const submit = () => {
    pending += 1
    last = last
      .then(submitWaiting)
      .catch(say)
      .finally(() => {
        pending -= 1
      })
    return last
  }
  const timer = setInterval(() => {
    if (pending === 0) void submit()
  }, EVERY_MS)
  // What a crash left behind.
  void submit()

  return {
    submit,
    async stop() {
      clearInterval(timer)
      stopped.abort()
      await last
    },
  }
}
