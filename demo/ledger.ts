/**
 * Balances the books: what the application wrote and was told, what the service counted, and what the catcher really
 * has. Each check compares figures of different origin, so that one side's mistake cannot hide itself.
 */
import { createHash } from 'node:crypto'
import PostalMime, { type Email } from 'postal-mime'
import { contentOf } from './files.js'
import { type Mail, PRIORITIES, SPECIAL } from './messages.js'
import type { OutboxRow, ReportEntry } from './outbox.js'

export interface Books {
  readonly rows: readonly OutboxRow[]
  readonly reports: readonly ReportEntry[]
  /** How many messages the service's answers called queued. */
  readonly accepted: number
  /** The service's own counters. */
  readonly metric: (name: string) => number
  /** What was to be fetched, by name. */
  readonly files: ReadonlyMap<string, Buffer>
  readonly caught: readonly { readonly raw: Buffer; readonly at: number }[]
}

export interface Check {
  readonly ok: boolean
  readonly fact: string
  readonly figure: string
}

export async function balance(books: Books): Promise<Check[]> {
  const received = await Promise.all(
    books.caught.map(async (each, place) => ({ ...each, place, ...(await open(each.raw)) })),
  )
  return [
    acceptedEqualsEnds(books),
    oneReportEach(books),
    countersAgree(books),
    caughtEqualsSent(books, received),
    urgentFirst(books, received),
    refused(books),
    halfRefused(books),
    greylisted(books),
    notEarly(books, received),
    sameText(books, received),
    sameAttachments(books, received),
    fetchedFiles(books, received),
  ]
}

interface Received {
  readonly id: string
  readonly email: Email
  readonly at: number
  /** From 0, in the order of arrival. */
  readonly place: number
}

async function open(raw: Buffer): Promise<{ id: string; email: Email }> {
  const email = await PostalMime.parse(raw)
  return { id: email.headers.find(({ key }) => key === 'x-genro-mail-id')?.value ?? '', email }
}

function acceptedEqualsEnds({ accepted, rows }: Books): Check {
  const sent = rows.filter(row => row.sentTs !== null).length
  const errors = rows.filter(row => row.proxied && row.errorTs !== null).length
  return {
    ok: accepted === rows.length && accepted === sent + errors,
    fact: 'accepted = sent + errors',
    figure: `${accepted} = ${sent} + ${errors}`,
  }
}

function oneReportEach({ accepted, reports }: Books): Check {
  const finals = reports.filter(entry => entry.sent_ts !== undefined || entry.error_ts !== undefined)
  const distinct = new Set(finals.map(entry => entry.id)).size
  return {
    ok: finals.length === accepted && distinct === accepted,
    fact: 'one final report for each message',
    figure: `${finals.length} reports, ${distinct} messages`,
  }
}

function countersAgree({ rows, metric }: Books): Check {
  const sent = rows.filter(row => row.sentTs !== null).length
  const errors = rows.filter(row => row.proxied && row.errorTs !== null).length
  const counted = { sent: metric('gmp_sent_total'), errors: metric('gmp_errors_total') }
  const pending = metric('gmp_pending_messages')
  return {
    ok: counted.sent === sent && counted.errors === errors && pending === 0,
    fact: 'the service’s own counters agree',
    figure: `sent ${counted.sent}, errors ${counted.errors}, pending ${pending}`,
  }
}

function caughtEqualsSent({ rows }: Books, received: readonly Received[]): Check {
  const arrived = new Set(received.map(each => each.id))
  const sent = rows.filter(row => row.sentTs !== null).map(row => row.id)
  const missing = sent.filter(id => !arrived.has(id)).length
  const twice = received.length - arrived.size
  const unasked = [...arrived].filter(id => !sent.includes(id)).length
  return {
    ok: missing === 0 && twice === 0 && unasked === 0,
    fact: 'what is reported sent arrived, once',
    figure: `${received.length} arrived, ${missing} missing, ${twice} twice${unasked > 0 ? `, ${unasked} unasked` : ''}`,
  }
}

/** The queue was filled faster than it was emptied, so the order of arrival shows the order of the queue. */
function urgentFirst({ rows }: Books, received: readonly Received[]): Check {
  const priorityOf = new Map(rows.map(row => [row.id, row.mail.priority]))
  const special = new Set<string>(Object.values(SPECIAL))
  const averages = PRIORITIES.map(priority => {
    const places = received.filter(({ id }) => priorityOf.get(id) === priority && !special.has(id))
    return Math.round(places.reduce((sum, { place }) => sum + place + 1, 0) / Math.max(1, places.length))
  })
  return {
    ok: averages.every((average, i) => i === 0 || average > averages[i - 1]!),
    fact: 'urgent mail overtook the rest',
    figure: `average place ${averages.join(', ')}`,
  }
}

function refused({ rows }: Books): Check {
  const row = find(rows, SPECIAL.refused)
  return {
    ok: row?.errorTs != null && row.sentTs === null && /550/.test(row.error ?? ''),
    fact: 'refused: an error, in the server’s words',
    figure: row?.error ?? 'no error reported',
  }
}

function halfRefused({ rows, reports }: Books): Check {
  const row = find(rows, SPECIAL.halfRefused)
  const recipients = reports.findLast(entry => entry.id === SPECIAL.halfRefused)?.recipients ?? []
  const count = (status: string) => recipients.filter(recipient => recipient.status === status).length
  return {
    ok: row?.sentTs != null && count('accepted') === 1 && count('refused') === 1,
    fact: 'half-refused: sent, each recipient told',
    figure: recipients.map(({ address, status }) => `${address.split('@')[0]} ${status}`).join(', ') || 'not told',
  }
}

function greylisted({ rows, reports }: Books): Check {
  const deferrals = reports.filter(entry => entry.id === SPECIAL.greylisted && entry.deferred_ts !== undefined)
  const isSent = find(rows, SPECIAL.greylisted)?.sentTs != null
  return {
    ok: deferrals.length === 1 && isSent,
    fact: 'greylisted: put off, then sent',
    figure: `put off ${deferrals.length}×, ${isSent ? 'then' : 'never'} sent`,
  }
}

function notEarly({ rows }: Books, received: readonly Received[]): Check {
  const due = (find(rows, SPECIAL.scheduled)?.mail.deferred_ts ?? Number.NaN) * 1000
  const late = (received.find(({ id }) => id === SPECIAL.scheduled)?.at ?? Number.NaN) - due
  return {
    ok: late >= 0,
    fact: 'scheduled: not early',
    figure: Number.isNaN(late)
      ? 'not arrived'
      : `${Math.abs(late / 1000).toFixed(2)} s ${late < 0 ? 'early' : 'after its time'}`,
  }
}

function sameText({ rows }: Books, received: readonly Received[]): Check {
  const mails = new Map(rows.map(row => [row.id, row.mail]))
  const same = received.filter(({ id, email }) => {
    const mail = mails.get(id)
    return mail !== undefined && email.subject === mail.subject && hasBodies(email, mail)
  }).length
  return {
    ok: same === received.length,
    fact: 'subjects and texts as written (UTF-8)',
    figure: `${same} of ${received.length}`,
  }
}

function hasBodies(email: Email, mail: Mail): boolean {
  const isHtml = mail.content_type === 'html'
  const text = mail.body_text ?? (isHtml ? undefined : mail.body)
  const html = mail.body_html ?? (isHtml ? mail.body : undefined)
  const plain = (given: string | undefined) => (given ?? '').replaceAll('\r\n', '\n').trimEnd()
  return plain(email.text) === plain(text) && plain(email.html) === plain(html)
}

function sameAttachments({ rows, files }: Books, received: readonly Received[]): Check {
  const sent = rows.filter(row => row.sentTs !== null)
  const written = sent.flatMap(({ id, mail }) =>
    (mail.attachments ?? []).map(attachment => fingerprint(id, attachment.filename, contentOf(attachment, files))),
  )
  const arrived = received.flatMap(({ id, email }) =>
    email.attachments.map(({ filename, content }) => fingerprint(id, filename ?? '', bytesOf(content))),
  )
  const unmatched = new Set(arrived)
  const same = written.filter(each => unmatched.delete(each)).length
  return {
    ok: same === written.length && arrived.length === written.length,
    fact: 'attachments unchanged (SHA-256)',
    figure: `${same} of ${written.length}`,
  }
}

/** Those that came from elsewhere, kind by kind. */
function fetchedFiles({ files }: Books, received: readonly Received[]): Check {
  const kinds = received.flatMap(({ id, email }) => {
    const kind = /^order-file-(\w+)$/.exec(id)?.[1]
    const [attachment] = email.attachments
    if (kind === undefined || attachment === undefined) return []
    const wanted = files.get(attachment.filename ?? '')
    return wanted !== undefined && Buffer.from(bytesOf(attachment.content)).equals(wanted) ? [kind] : []
  })
  return {
    ok: kinds.length === files.size,
    fact: 'files fetched from every kind of source',
    figure: kinds.join(', ') || 'none',
  }
}

function fingerprint(id: string, filename: string, content: Uint8Array): string {
  return `${id} ${filename} ${createHash('sha256').update(content).digest('hex')}`
}

function bytesOf(content: ArrayBuffer | Uint8Array | string): Uint8Array {
  return typeof content === 'string' ? Buffer.from(content, 'utf8') : new Uint8Array(content)
}

function find(rows: readonly OutboxRow[], id: string): OutboxRow | undefined {
  return rows.find(row => row.id === id)
}
