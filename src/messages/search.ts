/**
 * The text search over messages: id, subject, recipients and sender, any part of them, whatever the case. It reads the
 * beginning of the stored contents only, which is where parseMessage puts these fields, and looks at no more messages
 * and bytes than SEARCHED a call; the page's cursor goes on from there.
 */
import type { Db, Row } from '../db/db.js'

/** Most messages one call looks at. */
export const SEARCHED = 2_000
const HEAD_CHARACTERS = 2_000
/** SQLite reads a text whole to take its beginning. */
const MAX_BYTES = 64 * 1024 * 1024

export interface Searched {
  /** Newest first. */
  readonly seqs: readonly number[]
  /** Where the next call goes on (below this seq); null: everything was looked at. */
  readonly next: number | null
}

/** `from`: a select of seq, id, recipients, newest first, with its own limit of SEARCHED. */
export async function searchMessages(
  db: Db,
  from: { readonly sql: string; readonly params: readonly (string | number)[] },
  text: string,
  limit: number,
): Promise<Searched> {
  const bytes = `$${from.params.length + 1}`
  const rows = await db.read({
    sql: `select z.seq, z.id, z.recipients, z.bytes, substr(h.content, 1, ${HEAD_CHARACTERS}) as head
      from (select s.seq, s.id, s.recipients, sum(octet_length(c.content)) over (order by s.seq desc) as bytes
        from (${from.sql}) s left join contents c on c.seq = s.seq) z
      left join contents h on h.seq = z.seq and z.bytes <= ${bytes}
      order by z.seq desc`,
    params: [...from.params, MAX_BYTES],
  })
  const wanted = text.toLowerCase()
  const seqs: number[] = []
  let last: number | null = null
  for (const row of rows) {
    // The first is always looked at by what is there of it, so that each call gets on.
    if (last !== null && Number(row.bytes ?? 0) > MAX_BYTES) return { seqs, next: last }
    last = Number(row.seq)
    if (!matches(row, wanted)) continue
    seqs.push(last)
    if (seqs.length === limit) return { seqs, next: last }
  }
  return { seqs, next: rows.length < SEARCHED ? null : last }
}

function matches(row: Row, wanted: string): boolean {
  if ((row.id as string).toLowerCase().includes(wanted)) return true
  if (((row.recipients as string | null) ?? '').toLowerCase().includes(wanted)) return true
  const head = (row.head as string | null) ?? ''
  return textsOf(head).some(each => each.toLowerCase().includes(wanted))
}

/** The subject in the beginning of a stored content; undefined where it is not. */
export function subjectOf(head: string): string | undefined {
  const found = /^\{"subject":("(?:[^"\\]|\\.)*")/.exec(head)?.[1]
  return found === undefined ? undefined : (JSON.parse(found) as string)
}

/** The strings of the beginning up to the fields that are not searched, names of fields left out. */
function textsOf(head: string): string[] {
  // A quote inside a value is escaped, so this can only be the field itself.
  const end = head.indexOf('"contentType":')
  const searched = end < 0 ? head : head.slice(0, end)
  return [...searched.matchAll(/("(?:[^"\\]|\\.)*")(:?)/g)]
    .filter(([, , colon]) => colon === '')
    .map(([, literal]) => JSON.parse(literal!) as string)
}
