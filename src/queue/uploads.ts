/**
 * Large attachments that came inside their message: stored in pieces apart from it, so that neither a claim nor a look
 * at the queue reads them, and a send holds one piece at a time.
 */
import { randomInt } from 'node:crypto'
import { Readable } from 'node:stream'
import { type Db, rowsParam, type Statement } from '../db/db.js'

/** Pieces written at once. */
const AT_ONCE = 4

/** What a message refers to. */
export interface Upload {
  readonly id: number
  readonly sizeBytes: number
}

/** Stores the pieces durably; no message refers to them yet. */
export async function storeUpload(db: Db, parts: readonly Uint8Array[], now: number): Promise<Upload> {
  const id = randomInt(2 ** 47)
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0)
  const piece = (data: Uint8Array, part: number): Statement => ({
    sql: 'insert into upload_parts (upload, part, data) values ($1, $2, $3)',
    params: [id, part, data],
  })
  const [start] = parts
  const row = { sql: 'insert into uploads (id, size, created_at) values ($1, $2, $3)', params: [id, sizeBytes, now] }
  // A message may bring hundreds of one piece: a commit for each is enough.
  await db.write(start === undefined ? [row] : [row, piece(start, 0)])
  for (let first = 1; first < parts.length; first += AT_ONCE) {
    // A few share a commit; each is a unit of its own, so that other units get in between.
    await Promise.all(parts.slice(first, first + AT_ONCE).map((data, i) => db.write([piece(data, first + i)])))
  }
  return { id, sizeBytes }
}

/** An upload, and the submission that it belongs to. */
export interface Tie {
  readonly tenantId: string
  readonly id: string
  readonly submission: number
  readonly upload: number
}

/** Ties uploads to the messages of these submissions, in their unit: a message never stands without them. */
export function tieUploads(ties: readonly Tie[]): Statement[] {
  if (ties.length === 0) return []
  return [
    {
      sql: `update uploads set seq = m.seq, submission = g.s
        from @rows($1: t text, i text, s bigint, u bigint) g
        join messages m on m.tenant_id = g.t and m.id = g.i
        where uploads.id = g.u and m.submission = g.s`,
      params: [
        rowsParam(
          ties.map(({ tenantId, id, submission, upload }) => ({ t: tenantId, i: id, s: submission, u: upload })),
        ),
      ],
    },
  ]
}

/** The octets, a piece in memory at a time. Fails when a piece is missing: the mail must not end as if it were whole. */
export function openUpload(db: Db, id: number): Readable {
  return Readable.from(pieces(db, id), { objectMode: false, highWaterMark: 1 })
}

async function* pieces(db: Db, id: number): AsyncGenerator<Uint8Array> {
  for (let part = 0; ; part += 1) {
    const [row] = await db.read({
      sql: 'select data from upload_parts where upload = $1 and part = $2',
      params: [id, part],
    })
    if (row === undefined) return
    yield row.data as Uint8Array
  }
}

/** Removes uploads that no message took up within `graceMs`, and those whose message was submitted anew. */
export async function pruneUploads(db: Db, now: number, graceMs: number): Promise<void> {
  await db.write([
    { sql: 'delete from uploads where seq is null and created_at < $1', params: [now - graceMs] },
    {
      sql: `delete from uploads where seq is not null and exists
        (select 1 from messages m where m.seq = uploads.seq and m.submission <> uploads.submission)`,
      params: [],
    },
  ])
}

/** Forgets uploads whose message was not taken. */
export async function dropUploads(db: Db, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return
  await db.write([
    {
      sql: 'delete from uploads where seq is null and id in (select g.u from @rows($1: u bigint) g)',
      params: [rowsParam(ids.map(u => ({ u })))],
    },
  ])
}
