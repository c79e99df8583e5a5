/**
 * `Expect: 100-continue` (RFC 9110 §10.1.1): a client that asks before it sends a large body is told to go on only once
 * its token was accepted and the body is wanted. Node would say so at once.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'

const asking = new WeakMap<IncomingMessage, ServerResponse>()

export function letBodiesWait(server: Server): void {
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    asking.set(request, response)
    server.emit('request', request, response)
  })
}

/** Call when the body is about to be read; does nothing for a client that did not ask. */
export function askForBody(request: IncomingMessage): void {
  const response = asking.get(request)
  if (response === undefined) return
  asking.delete(request)
  response.writeContinue()
}

/** True while the client still waits: it will not send its body, so the connection cannot serve another request. */
export function isWaiting(request: IncomingMessage): boolean {
  return asking.has(request)
}
