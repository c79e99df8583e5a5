/** Writes a transaction down for people: the commands and replies, and of the content only how long it was. */
import { replyLine } from './reply.js'
import type { Reply } from './transport.js'
import type { WireTap } from './wire.js'

/** A message may have 10,000 recipients; nobody reads that many lines. */
const MOST_LINES = 200

export function writeDown(lines: string[]): WireTap {
  let octets = 0
  const add = (line: string) => {
    if (lines.length < MOST_LINES) lines.push(line)
    else if (lines.length === MOST_LINES) lines.push('…')
  }
  return {
    sent(data) {
      if (typeof data !== 'string') {
        octets += data.length
        return
      }
      for (const line of data.split('\r\n')) if (line !== '') add(`C: ${line}`)
    },
    received(reply: Reply) {
      if (octets > 0) add(`C: (content and final dot, ${octets} octets)`)
      octets = 0
      add(`S: ${replyLine(reply)}`)
    },
  }
}
