/**
 * `messages list`: the newest first, page by page. A table or one JSON object is held until it is whole; CSV and JSON
 * lines go out as the pages come, so that a whole year can be exported.
 */
import { type Command, Option } from 'commander'
import { type Api, withApi } from '../../api.js'
import { type Place, withExamples, withJson } from '../../command.js'
import { UsageError } from '../../errors.js'
import { csv, jsonText, show } from '../../output/show.js'
import { type Column, table } from '../../output/table.js'
import { paintState } from '../../output/text.js'
import { unixTime } from '../../times.js'
import { isOpen, type MessageRecord, PRIORITIES, STATUSES } from './record.js'

interface ListFlags {
  readonly status?: string
  readonly account?: string
  readonly batch?: string
  readonly active?: boolean
  readonly search?: string
  readonly since?: string
  readonly until?: string
  readonly limit: string
  readonly all?: boolean
  readonly json?: boolean
  readonly jsonl?: boolean
  readonly csv?: boolean
}

export function addMessageList(messages: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = messages
    .command('list')
    .description('messages, the newest first')
    .addOption(new Option('--status <status>', 'only those in this state').choices(STATUSES))
    .option('--account <account>', 'only those of this account')
    .option('--batch <code>', 'only those of this batch')
    .option('--active', 'only those that have not ended')
    .option('--search <text>', 'part of the id, the subject or an address')
    .option(
      '--since <time>',
      'submitted from then on: Unix seconds, a date as in 2027-06-30T08:00, or 2h for two hours ago',
    )
    .option('--until <time>', 'submitted before then')
    .option('--limit <n>', 'how many at most', '50')
    .option('--all', 'all of them')
    .option('--csv', 'answer as CSV')
    .option('--jsonl', 'answer as JSON, one message a line')
    .action(async (flags: ListFlags) => {
      if ([flags.json, flags.jsonl, flags.csv].filter(Boolean).length > 1) {
        throw new UsageError('--json, --jsonl and --csv exclude each other')
      }
      const query = filterOf(place, flags)
      const limit = flags.all ? Number.POSITIVE_INFINITY : limitOf(flags.limit)
      await withApi(io, instance, async api => {
        const pages = pagesOf(api, query, limit)
        if (flags.jsonl) return writeLines(place, pages)
        if (flags.csv) return writeCsv(place, pages)
        const found: MessageRecord[] = []
        let next: string | null = null
        for await (const page of pages) {
          // A table needs little of each; the contents of many would take memory for nothing.
          found.push(...(flags.json ? page.messages : page.messages.map(withoutBodies)))
          next = page.next_cursor
        }
        show(io, flags, { messages: found, next_cursor: next }, () => tableOf(place, found, next))
      })
    })
  const words = tenant === null ? instance : `${instance} ${tenant}`
  withExamples(withJson(command), [
    `mail-proxy ${words} messages list --status error --since 1d`,
    `mail-proxy ${words} messages list --active --search anna@example.com`,
    `mail-proxy ${words} messages list --all --csv`,
  ])
}

type Query = Readonly<Record<string, string | number | boolean | null | undefined>>

function filterOf({ tenant }: Place, flags: ListFlags): Query {
  return {
    tenant_id: tenant,
    status: flags.status,
    account_id: flags.account,
    batch_code: flags.batch,
    active_only: flags.active,
    q: flags.search,
    since: unixTime('--since', flags.since),
    until: unixTime('--until', flags.until),
  }
}

function limitOf(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new UsageError(`--limit is "${text}": it should be a whole number from 1`)
  return Number(text)
}

interface Page {
  readonly messages: readonly MessageRecord[]
  readonly next_cursor: string | null
}

const LARGEST_PAGE = 1_000

/** A page may be short and still have a next one: the API looks at a bounded number of messages a call. */
async function* pagesOf(api: Api, query: Query, limit: number): AsyncGenerator<Page> {
  let left = limit
  let cursor: string | null = null
  do {
    const page: Page = await api.call('GET', '/messages', {
      query: { ...query, limit: Math.min(left, LARGEST_PAGE), cursor },
    })
    yield page
    left -= page.messages.length
    cursor = page.next_cursor
  } while (cursor !== null && left > 0)
}

async function writeLines({ io }: Place, pages: AsyncIterable<Page>): Promise<void> {
  for await (const { messages } of pages) io.out(messages.map(each => jsonText(each)).join(''))
}

async function writeCsv({ io }: Place, pages: AsyncIterable<Page>): Promise<void> {
  let header = true
  for await (const { messages } of pages) {
    io.out(csv(CSV_COLUMNS, messages.map(csvRow), { header }))
    header = false
  }
}

const CSV_COLUMNS = [
  ...['id', 'tenant_id', 'account_id', 'status', 'priority', 'from', 'to', 'cc', 'bcc', 'subject', 'batch_code'],
  ...[
    'attempts',
    'created_at',
    'deferred_at',
    'deferred_reason',
    'sent_at',
    'error_at',
    'code',
    'error',
    'reported_at',
  ],
] as const

function csvRow(each: MessageRecord): Readonly<Record<(typeof CSV_COLUMNS)[number], unknown>> {
  const { message = {} } = each
  return {
    id: each.id,
    tenant_id: each.tenant_id,
    account_id: each.account_id,
    status: each.status,
    priority: PRIORITIES[each.priority],
    from: message.from,
    to: message.to?.join(', '),
    cc: message.cc?.join(', '),
    bcc: message.bcc?.join(', '),
    subject: each.subject,
    batch_code: each.batch_code,
    attempts: each.attempts,
    created_at: each.created_at,
    deferred_at: iso(each.deferred_ts),
    deferred_reason: each.deferred_reason,
    sent_at: iso(each.sent_ts),
    error_at: iso(each.error_ts),
    code: each.code,
    error: each.error,
    reported_at: iso(each.reported_ts),
  }
}

function iso(seconds: number | undefined): string | undefined {
  return seconds === undefined ? undefined : new Date(seconds * 1000).toISOString()
}

function withoutBodies(each: MessageRecord): MessageRecord {
  return { ...each, message: { to: each.message?.to, cc: each.message?.cc, bcc: each.message?.bcc } }
}

function tableOf(place: Place, found: readonly MessageRecord[], next: string | null): string {
  const { io, tenant } = place
  // Where there is little room, what tells the messages apart and why they wait has it.
  const isNarrow = io.terminal.stdout && io.terminal.columns > 0 && io.terminal.columns < 110
  const accountOf = (each: MessageRecord) =>
    tenant === null ? `${each.tenant_id}/${each.account_id}` : each.account_id
  const columns: Column<MessageRecord>[] = [
    // The next command asks for it: not cut unless it leaves no room for the rest.
    { title: 'ID', of: each => each.id, whole: found.every(each => each.id.length <= (isNarrow ? 24 : 36)) },
    { title: 'STATUS', of: each => each.status, whole: true, paint: text => paintState(io, text) },
    ...(isNarrow && tenant !== null ? [] : [{ title: 'ACCOUNT', of: accountOf }]),
    ...(isNarrow ? [] : [{ title: 'PRIO', of: (each: MessageRecord) => each.priority, whole: true }]),
    { title: 'TO', of: recipientsOf },
    { title: 'SUBJECT', of: each => each.subject },
    { title: 'CREATED', of: each => shortTime(Date.parse(each.created_at) / 1000), whole: true },
  ]
  if (found.some(each => reasonOf(each) !== '')) columns.push({ title: 'WHY', of: reasonOf })
  const more = next === null ? '' : 'There are more: --all, or a larger --limit.\n'
  const none = `no message matches; \`mail-proxy ${place.instance} ${tenant ?? '<tenant>'} messages send <file.eml>\` sends one`
  return table(io, found, columns, none) + more
}

/** `anna@example.com +2` */
function recipientsOf({ message, recipients }: MessageRecord): string {
  const all = message?.to?.length
    ? [...message.to, ...(message.cc ?? []), ...(message.bcc ?? [])]
    : (recipients?.map(each => each.address) ?? [])
  const others = all.length - 1
  return others > 0 ? `${all[0]} +${others}` : (all[0] ?? '')
}

function reasonOf(each: MessageRecord): string {
  if (!isOpen(each)) return each.error ?? ''
  const next = each.deferred_ts === undefined ? '' : `until ${shortTime(each.deferred_ts)}`
  return [each.deferred_reason ?? '', next].filter(text => text !== '').join(', ')
}

/** Local, without the year: `11-26 14:02`. */
function shortTime(seconds: number): string {
  const at = new Date(seconds * 1000)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`
}
