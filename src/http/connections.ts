/**
 * What a connection may cost whoever holds it: no more of them at once than the settings allow, and none on which nothing
 * moves. Slow headers and bodies are Node's to cut (headersTimeout, requestTimeout); a client that does not read is not.
 */
import type { Server, ServerResponse } from 'node:http'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'

const STILL_MS = 180_000
const LOG_EVERY_MS = 60_000

/** `most` 0: no limit. What is over it is closed before a byte of it is read. */
export function limitConnections(
  server: Server,
  most: number,
  { log, clock }: { readonly log: Log; readonly clock: Pick<Clock, 'monotonic'> },
): void {
  server.setTimeout(STILL_MS)
  if (most === 0) return
  server.maxConnections = most
  let loggedAt = Number.NEGATIVE_INFINITY
  let dropped = 0
  server.on('drop', () => {
    dropped += 1
    if (clock.monotonic() - loggedAt < LOG_EVERY_MS) return
    loggedAt = clock.monotonic()
    log.warning(`${most} connections are open (GMP_MAX_CONNECTIONS): ${dropped} were refused since this was last said`)
    dropped = 0
  })
}

/**
 * An answer that is still being worked on (a purge of many rows may take minutes) is waited for in silence. Without a listener
 * Node would cut the connection; with one, only a client that leaves octets unread is cut here.
 */
export function waitForAnswer(response: ServerResponse): void {
  response.on('timeout', () => {
    if (response.writableLength > 0) response.socket?.destroy()
  })
}
