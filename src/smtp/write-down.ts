/** Writes a transaction down for people: the commands and replies without secrets, and of the content only how long it was. */
import { replyLine } from './reply.js'
import type { Reply } from './transport.js'
import type { WireTap } from './wire.js'

/** A transaction may have 10,000 recipients, and nobody reads that many lines: its beginning and its end are kept. */
const MOST_LINES = 200
const FIRST_LINES = 140
/** RFC 5321 §4.5.3.1.5 allows a reply's line 512. */
const MOST_CHARACTERS = 512
const GAP = '…'

export function writeDown(lines: string[], mask: (text: string) => string): WireTap {
  let octets = 0
  const add = (line: string) => {
    lines.push(mask(line).slice(0, MOST_CHARACTERS))
    if (lines.length <= MOST_LINES) return
    // Of what lies between, the gap is the first to stay and the oldest line behind it the next to go.
    if (lines[FIRST_LINES] === GAP) lines.splice(FIRST_LINES + 1, 1)
    else lines.splice(FIRST_LINES, lines.length - MOST_LINES + 1, GAP)
  }
  return {
    said(commands) {
      for (const line of commands.split('\r\n')) if (line !== '') add(`C: ${line}`)
    },
    sent(more) {
      octets += more
    },
    received(reply: Reply) {
      if (octets > 0) add(`C: (content and final dot, ${octets} octets)`)
      octets = 0
      add(`S: ${replyLine(reply)}`)
    },
  }
}
