/**
 * Rows as PostgreSQL takes them fastest: an array a column, in the binary format of the protocol. Nothing is escaped on
 * the way out and nothing parsed on the way in; a content of 2 KB as JSON in JSON was both.
 */
import type { Param, Rows } from './db.js'
import type { Column } from './dialect.js'

const OIDS: Readonly<Record<string, number>> = { text: 25, bigint: 20 }
const HEADER_BYTES = 20
const NULL = -1

/** One parameter a column; of a type that is text or bigint. */
export function asArrays(columns: readonly Column[], rows: Rows): Buffer[] {
  return columns.map(({ name, type }) => {
    const oid = OIDS[type]
    if (oid === undefined) throw new Error(`@each knows no "${type}" on PostgreSQL`)
    const values = rows.map(row => row[name] ?? null)
    return type === 'text' ? textArray(oid, values) : bigintArray(oid, values)
  })
}

function textArray(oid: number, values: readonly Param[]): Buffer {
  const lengths = values.map(value => (value === null ? NULL : Buffer.byteLength(value as string)))
  const array = newArray(oid, values, lengths)
  let at = HEADER_BYTES
  for (const [i, value] of values.entries()) {
    at = array.writeInt32BE(lengths[i]!, at)
    if (value !== null) at += array.write(value as string, at)
  }
  return array
}

function bigintArray(oid: number, values: readonly Param[]): Buffer {
  const array = newArray(
    oid,
    values,
    values.map(value => (value === null ? NULL : 8)),
  )
  let at = HEADER_BYTES
  for (const value of values) {
    at = array.writeInt32BE(value === null ? NULL : 8, at)
    if (value === null) continue
    if (!Number.isSafeInteger(value)) throw new Error(`${value} is no whole number`)
    const high = Math.floor((value as number) / 2 ** 32)
    at = array.writeInt32BE(high, at)
    at = array.writeUInt32BE((value as number) - high * 2 ** 32, at)
  }
  return array
}

/** With its header: dimensions, whether there are nulls, the type, and of the one dimension its length and first index. */
function newArray(oid: number, values: readonly Param[], lengths: readonly number[]): Buffer {
  const size = lengths.reduce((sum, length) => sum + 4 + Math.max(0, length), HEADER_BYTES)
  const array = Buffer.allocUnsafe(size)
  array.writeInt32BE(1, 0)
  array.writeInt32BE(lengths.includes(NULL) ? 1 : 0, 4)
  array.writeInt32BE(oid, 8)
  array.writeInt32BE(values.length, 12)
  array.writeInt32BE(1, 16)
  return array
}
