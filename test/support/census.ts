/** What lives in this process after a full collection of garbage: what outlives its connection, leaks. */
import { queryObjects } from 'node:v8'
import { Wire } from '../../src/smtp/wire.js'

/** SMTP connections, logged in and on the way to it, their sockets, buffers and timers with them. Takes a second or two. */
export function livingSmtpConnections(): number {
  return Number(queryObjects(Wire, { format: 'count' }))
}
