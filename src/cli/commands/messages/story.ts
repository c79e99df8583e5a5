/** The story of a message as text: state and cause first, then what may be done, then everything that happened to it. */
import type { Place } from '../../command.js'
import { type Column, type Field, fields, table } from '../../output/table.js'
import { counted, duration, fromNow, paint, paintState, printable, time } from '../../output/text.js'
import {
  type Attachment,
  type Attempt,
  type HistoryEntry,
  isOpen,
  PRIORITIES,
  type Recipient,
  type Submitted,
  type WholeMessage,
} from './record.js'
import { type Around, causeOf, reportsOf, todoOf, whyOf } from './why.js'

export function storyOf(place: Place, message: WholeMessage, around: Around): string {
  const { io } = place
  const title = (text: string) => `\n${paint(io, 'bold', text)}\n`
  const { recipients, attempt_log: attempts = [], history = [], message: submitted = {} } = message
  const parts = [fields(io, headOf(place, message, around))]
  parts.push(title('Content'), fields(io, contentOf(submitted, message.subject)))
  parts.push(title('Recipients'), recipientsTable(place, recipients ?? notYet(submitted, message.status)))
  if (attempts.length > 0) parts.push(title('Attempts'), attemptLines(attempts))
  if (history.length > 0) parts.push(title('History'), historyTable(place, history))
  const { attachments = [] } = submitted
  if (attachments.length > 0) parts.push(title('Attachments'), attachmentsTable(place, attachments))
  return parts.join('')
}

function headOf(place: Place, message: WholeMessage, around: Around): Field[] {
  const { io } = place
  const { tenant_name: name, batch_code: batch, waiting_for: cause } = message
  const whose = `${message.tenant_id}${name === undefined ? '' : ` (${name})`}`
  const server = around.account === null ? '' : ` (${around.account.host}:${around.account.port})`
  const state = cause ? `${message.status}, waits: ${cause.replace('_', ' ')}` : message.status
  const next = message.next_attempt_ts
  return [
    ['message', message.id],
    ['state', state, text => text.replace(message.status, paintState(io, message.status))],
    ['why', whyOf(message)],
    ...causeOf(message, around),
    ['next try', isOpen(message) && next ? `${time(next)}, ${fromNow(next)}` : undefined],
    ['but', isOpen(message) && !around.isServed ? `${place.instance} does not run: nothing is sent` : undefined],
    ['to do', todoOf(place, message, around)],
    ['tenant', whose],
    ['account', `${message.account_id}${server}`],
    ['priority', PRIORITIES[message.priority]],
    ['batch', batch],
    ['created', time(Date.parse(message.created_at) / 1000)],
    ['expires', message.message?.expires_ts === undefined ? undefined : time(message.message.expires_ts)],
    ['sent', message.sent_ts === undefined ? undefined : time(message.sent_ts)],
    ['failed', message.error_ts === undefined ? undefined : time(message.error_ts)],
    ['attempts', message.attempts],
    ['reports', reportsOf(message, around)],
  ]
}

function contentOf(submitted: Submitted, subject: string | undefined): Field[] {
  const { body, body_text, body_html, content_type, headers } = submitted
  const list = (addresses: readonly string[] | undefined) => (addresses?.length ? addresses.join(', ') : undefined)
  const sizes = [
    sizeOf(content_type === 'html' ? 'html' : 'text', body),
    sizeOf('text', body_text),
    sizeOf('html', body_html),
  ]
  return [
    ['subject', subject],
    ['from', submitted.from],
    ['to', list(submitted.to)],
    ['cc', list(submitted.cc)],
    ['bcc', list(submitted.bcc)],
    ['reply to', submitted.reply_to],
    ['return path', submitted.return_path],
    ['message id', submitted.message_id],
    ['body', sizes.filter(text => text !== '').join(', ') || 'empty'],
    ...Object.entries(headers ?? {}).map(([name, value]): Field => [printable(name), value]),
  ]
}

function sizeOf(kind: string, body: string | undefined): string {
  return body ? `${kind}, ${counted(body.length, 'character')}` : ''
}

function notYet({ to = [], cc = [], bcc = [] }: Submitted, status: string): Recipient[] {
  const state = status === 'sent' ? 'accepted' : 'open'
  return [...to, ...cc, ...bcc].map(address => ({ address, status: state, code: null, reply: null }))
}

function recipientsTable({ io }: Place, recipients: readonly Recipient[]): string {
  const columns: Column<Recipient>[] = [
    { title: 'ADDRESS', of: each => each.address, whole: true },
    { title: 'STATUS', of: each => each.status, whole: true, paint: text => paintState(io, text) },
  ]
  const said = ({ code, reply }: Recipient) => wordsOf(code, reply)
  if (recipients.some(each => said(each) !== '')) columns.push({ title: 'REPLY', of: said, runsOn: true })
  return table(io, recipients, columns, 'none')
}

/** When, how long, with whom, and below it the server's words: of the message, and of each recipient it did not take. */
function attemptLines(attempts: readonly Attempt[]): string {
  const lines = attempts.flatMap(attempt => {
    const { n, started_ts: at, remote, final, error, replies = [] } = attempt
    const head = [time(at), `took ${tookOf(attempt)}`, remote ?? ''].filter(text => text !== '').join(', ')
    const refused = replies.filter(({ code }) => code !== null && !code.startsWith('2'))
    const told = [
      ...(final ? [wordsOf(final.code, final.text)] : error ? [error] : []),
      ...refused.map(({ address, code, text }) => `${address}: ${wordsOf(code, text)}`),
    ]
    return [`${n ?? '-'}  ${head}`, ...(told.length === 0 ? ['no reply'] : told).map(text => `   ${printable(text)}`)]
  })
  return lines.map(line => `${line}\n`).join('')
}

/** A reply's text has its code at the beginning already; words of our own have not. */
function wordsOf(code: string | null, text: string | null): string {
  return text === null || text === '' ? (code ?? '') : code === null || text.startsWith(code) ? text : `${code} ${text}`
}

function tookOf({ duration_ms: ms = 0 }: Attempt): string {
  return ms < 10_000 ? `${(ms / 1000).toFixed(2)} s` : duration(ms / 1000)
}

function historyTable({ io }: Place, history: readonly HistoryEntry[]): string {
  return table(
    io,
    history,
    [
      { title: 'WHEN', of: each => time(each.event_ts), whole: true },
      { title: 'WHAT', of: each => each.event_type, whole: true, paint: text => paintState(io, text) },
      { title: 'REPORTED', of: reportedOf, whole: true },
      { title: 'WORDS', of: each => each.description, runsOn: true },
    ],
    'none',
  )
}

function reportedOf({ event_type: type, reported_ts: at }: HistoryEntry): string {
  if (at !== undefined) return time(at)
  return type === 'attempt' ? '-' : 'waits'
}

function attachmentsTable({ io }: Place, attachments: readonly Attachment[]): string {
  return table(
    io,
    attachments,
    [
      { title: 'FILE', of: each => each.filename },
      { title: 'TYPE', of: each => each.mime_type },
      { title: 'FROM', of: each => each.fetch_mode, whole: true },
      { title: 'PATH', of: each => each.storage_path },
      { title: 'CONTENT ID', of: each => each.content_id },
    ],
    'none',
  )
}
