/**
 * The listing of messages, newest first, a page at a time. Cost a page is bounded: where a filter finds little, a call
 * looks at no more than EXAMINED rows and its cursor goes on from there, so a page may be short or empty and still have
 * a next. What is open is found through its own indexes, however much was sent since.
 */
import { type Db, type Row, rowsParam, type Statement } from '../db/db.js'
import { countOpenUpTo, openRowsSql } from '../queue/open-rows.js'
import { type HistoryEntry, readHistories } from './history.js'
import type { Status } from './message.js'
import { type MessageRecord, RECORD_COLUMNS, RECORD_TABLES, type StoredContent, toRecord } from './record.js'
import { SEARCHED, searchMessages, subjectOf } from './search.js'

export interface ListFilter {
  /** null: all tenants. */
  readonly tenantId: string | null
  readonly status?: Status
  readonly accountId?: string
  readonly batchCode?: string
  readonly activeOnly?: boolean
  /** Part of the id, the subject or an address. */
  readonly text?: string
  /** By created_at, epoch ms: from, and before. */
  readonly since?: number
  readonly until?: number
  readonly includeHistory?: boolean
  readonly limit: number
  /** Only older ones than this seq; null: from the newest. */
  readonly before: number | null
}

export interface Page {
  readonly messages: (MessageRecord & { history?: HistoryEntry[] })[]
  /** To be given as `before`; null: this was the end. */
  readonly next: number | null
}

const EXAMINED = 20_000
/** Contents a page carries: long ones not at all (the message itself shows them), the others up to this together. */
const MAX_CONTENT_BYTES = 256 * 1024
const MAX_PAGE_BYTES = 8 * 1024 * 1024
const MAX_HEAD_BYTES = 64 * 1024 * 1024
/** created_at and seq run together but for instances whose clocks differ. */
const SKEW_MS = 3_600_000
const OPEN: ReadonlySet<string> = new Set(['pending', 'deferred', 'sending', 'in_doubt'])

export async function listMessages(db: Db, filter: ListFilter): Promise<Page> {
  const found = await findPage(db, filter)
  const [rows, contents] = await Promise.all([readRows(db, found.seqs), readContents(db, found.seqs)])
  const histories = filter.includeHistory === true ? await readHistories(db, found.seqs) : null
  const messages = rows.map(row => {
    const seq = Number(row.seq)
    const record = toRecord(row, contents.get(seq)?.content ?? null, contents.get(seq)?.subject)
    return histories === null ? record : { ...record, history: histories.get(seq) }
  })
  return { messages, next: found.next }
}

interface Found {
  readonly seqs: readonly number[]
  readonly next: number | null
}

async function findPage(db: Db, filter: ListFilter): Promise<Found> {
  if (filter.text !== undefined && filter.text !== '') {
    const candidates = await candidatesOf(db, filter, SEARCHED)
    const found = await searchMessages(db, candidates, filter.text, filter.limit)
    if (found.next !== null || found.seqs.length === filter.limit || !isSelective(filter)) return found
    return { seqs: found.seqs, next: await lastExamined(db, filter) }
  }
  const newest = wantsOpen(filter) ? await readSeqs(db, newestOf(filter)) : []
  if (newest.length === filter.limit) return { seqs: newest, next: newest.at(-1) ?? null }
  const seqs = await readSeqs(db, await candidatesOf(db, filter, filter.limit))
  if (seqs.length === filter.limit) return { seqs, next: seqs.at(-1) ?? null }
  return { seqs, next: isSelective(filter) ? await lastExamined(db, filter) : null }
}

async function readSeqs(db: Db, statement: Statement): Promise<number[]> {
  return (await db.read(statement)).map(row => Number(row.seq))
}

/**
 * Of a queue that is being sent the newest messages are still open: a page of them is found without gathering all that are.
 * One of 20,000 took PostgreSQL 60 ms.
 */
function newestOf(filter: ListFilter): Statement {
  const params: (string | number)[] = []
  const mark = (value: string | number) => `$${params.push(value)}`
  const from = examinedSql('n.*', filter, mark, mark(2 * filter.limit + 100))
  return { sql: selectSql(`(${from})`, filter, mark, filter.limit), params }
}

/** The newest `limit` rows that match, as a select of seq, id, recipients. */
async function candidatesOf(db: Db, filter: ListFilter, limit: number) {
  const params: (string | number)[] = []
  const mark = (value: string | number) => `$${params.push(value)}`
  const from = (await isFewOpen(db, filter))
    ? `(select n.* from messages n where n.seq in
        (${openRowsSql('m.seq', filter.tenantId === null ? null : mark(filter.tenantId))}) ${beforeSql(filter, mark)})`
    : isSelective(filter)
      ? `(${examinedSql('n.*', filter, mark)})`
      : `(select n.* from messages n where 1 = 1 ${tenantSql(filter, mark)} ${beforeSql(filter, mark)})`
  return { sql: selectSql(from, filter, mark, limit), params }
}

function selectSql(from: string, filter: ListFilter, mark: Mark, limit: number): string {
  const conditions = conditionsOf(filter, mark)
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`
  return `select m.seq, m.id, m.recipients from ${from} m ${where} order by m.seq desc limit ${mark(limit)}`
}

type Mark = (value: string | number) => string

function examinedSql(columns: string, filter: ListFilter, mark: Mark, count = `${EXAMINED}`): string {
  return `select ${columns} from messages n where 1 = 1 ${tenantSql(filter, mark)} ${beforeSql(filter, mark)}
    order by n.seq desc limit ${count}`
}

function tenantSql({ tenantId }: ListFilter, mark: Mark): string {
  return tenantId === null ? '' : `and n.tenant_id = ${mark(tenantId)}`
}

function beforeSql({ before }: ListFilter, mark: Mark): string {
  return before === null ? '' : `and n.seq < ${mark(before)}`
}

function conditionsOf(filter: ListFilter, mark: Mark): string[] {
  const { status, accountId, batchCode, activeOnly, since, until } = filter
  const conditions: string[] = []
  if (activeOnly === true) conditions.push('m.stage > 0')
  if (status !== undefined) conditions.push(`m.status = ${mark(status)}`)
  if (accountId !== undefined) conditions.push(`m.account_id = ${mark(accountId)}`)
  if (batchCode !== undefined) conditions.push(`m.batch_code = ${mark(batchCode)}`)
  if (since !== undefined) conditions.push(`m.created_at >= ${mark(since)}`)
  if (until !== undefined) conditions.push(`m.created_at < ${mark(until)}`)
  return conditions
}

/** True when a filter could leave out many rows in a row. */
function isSelective(filter: ListFilter): boolean {
  return conditionsOf(filter, () => '').length > 0
}

function wantsOpen({ status, activeOnly }: ListFilter): boolean {
  return activeOnly === true || (status !== undefined && OPEN.has(status))
}

/** Only open ones are wanted, and they are few enough to be gathered and sorted. */
async function isFewOpen(db: Db, filter: ListFilter): Promise<boolean> {
  return wantsOpen(filter) && (await countOpenUpTo(db, filter.tenantId, EXAMINED + 1)) <= EXAMINED
}

/** Where a short page's cursor goes on; null: the rows, or those young enough, have been looked at. */
async function lastExamined(db: Db, filter: ListFilter): Promise<number | null> {
  if (await isFewOpen(db, filter)) return null
  const params: (string | number)[] = []
  const sql = examinedSql('n.seq, n.created_at', filter, value => `$${params.push(value)}`)
  const [row] = await db.read({
    sql: `select count(*) as n, min(e.seq) as last, min(e.created_at) as oldest from (${sql}) e`,
    params,
  })
  const isEnd = row === undefined || Number(row.n) < EXAMINED
  if (isEnd || (filter.since !== undefined && Number(row.oldest) < filter.since - SKEW_MS)) return null
  return Number(row.last)
}

async function readRows(db: Db, seqs: readonly number[]): Promise<Row[]> {
  return db.read({
    sql: `select ${RECORD_COLUMNS} from ${RECORD_TABLES}
      where m.seq in (select g.k from @rows($1: k bigint) g) order by m.seq desc`,
    params: [rowsParam(seqs.map(seq => ({ k: seq })))],
  })
}

/** The contents as far as they fit the page; of the others at least the subject. */
async function readContents(db: Db, seqs: readonly number[]) {
  const rows = await db.read({
    // Sizes first, from the rows' headers, so that a long content is not even read.
    sql: `with sized as (
        select c.seq, octet_length(c.content) as size,
          sum(case when octet_length(c.content) > $2 then 0 else octet_length(c.content) end) over (order by c.seq desc) as page,
          sum(octet_length(c.content)) over (order by c.seq desc) as heads
        from contents c where c.seq in (select g.k from @rows($1: k bigint) g))
      select s.seq, f.content, substr(h.content, 1, 2000) as head from sized s
      left join contents f on f.seq = s.seq and s.size <= $2 and s.page <= $3
      left join contents h on h.seq = s.seq and not (s.size <= $2 and s.page <= $3) and s.heads <= $4`,
    params: [rowsParam(seqs.map(seq => ({ k: seq }))), MAX_CONTENT_BYTES, MAX_PAGE_BYTES, MAX_HEAD_BYTES],
  })
  return new Map(
    rows.map(row => {
      const content = row.content === null ? null : (JSON.parse(row.content as string) as StoredContent)
      const subject = row.head === null ? undefined : subjectOf(row.head as string)
      return [Number(row.seq), { content, subject }]
    }),
  )
}
