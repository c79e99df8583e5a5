/**
 * Faults between the service and PostgreSQL, by the unit of work they meet: a proxy that reads along which statements are
 * run (protocol 3.0), also of those that were prepared before, and meddles with the answer to them.
 */
import type { Link, Script } from './proxy.js'

/** What the client gets in place of a whole answer; null: nothing. */
export type AnswerFault = (answer: Buffer, link: Link) => Buffer | null

/** Asked for each unit, with the texts of its statements. null: the answer as it is. */
export function postgresScript(faultAt: (statements: readonly string[]) => AnswerFault | null): () => Script {
  return () => {
    const prepared = new Map<string, string>()
    let said = Buffer.alloc(0)
    let heard = Buffer.alloc(0)
    let unit: string[] = []
    /** By unit under way, what its answer becomes. */
    const faults: (AnswerFault | null)[] = []
    let isStarted = false

    const read = (type: string, body: Buffer) => {
      const [name = '', text = ''] = body.toString('utf8', 0, Math.min(body.length, 20_000)).split('\0')
      if (type === 'P') prepared.set(name, text)
      // Bind names the portal first.
      else if (type === 'B') unit.push(prepared.get(text) ?? '')
      else if (type === 'Q') unit.push(name)
      if (type !== 'S' && type !== 'Q') return
      faults.push(faultAt(unit))
      unit = []
    }
    return {
      fromClient(chunk) {
        said = Buffer.concat([said, chunk])
        while (said.length >= 5) {
          // The first message has no type.
          const at = isStarted ? 1 : 0
          const end = at + said.readUInt32BE(at)
          if (said.length < end) break
          if (isStarted) read(String.fromCharCode(said[0]!), said.subarray(5, end))
          isStarted = true
          said = said.subarray(end)
        }
        return chunk
      },
      fromServer(chunk, link) {
        const fault = faults[0] ?? null
        if (faults.length === 0) return chunk
        heard = Buffer.concat([heard, chunk])
        // One unit at a time on a connection: its answer ends with ReadyForQuery.
        if (heard.length < 6 || heard.readUInt32BE(heard.length - 5) !== 5 || heard.at(-6) !== 90) return null
        const answer = heard
        heard = Buffer.alloc(0)
        faults.shift()
        return fault === null ? answer : fault(answer, link)
      },
    }
  }
}

/** The unit is done, and its answer is cut off in the middle. */
export const cutAnswer: AnswerFault = (answer, link) => {
  link.toClient(answer.subarray(0, Math.floor(answer.length / 2)))
  link.reset()
  return null
}

/** The unit is done, and nothing comes of it, nor of anything else on this connection. */
export const swallow: AnswerFault = (_answer, link) => {
  link.freeze()
  return null
}
