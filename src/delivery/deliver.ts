/** Takes one claimed message to its outcome: attachments, large files, render, one SMTP transaction, classification. */
import { AttachmentFailure } from '../attachments/failure.js'
import type { Fetched } from '../attachments/fetch.js'
import { DatabaseUnavailable } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Content } from '../messages/message.js'
import { renderMail } from '../mime/render.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import type { Lease } from '../queue/lease.js'
import type { Outcome } from '../queue/outcome.js'
import { phaseWords } from '../smtp/failures.js'
import { type Letter, type MailTransport, SmtpFailure } from '../smtp/transport.js'
import { classifyError, classifyReplies, Interrupted, Undeliverable } from './classify.js'
import type { Underway } from './lane.js'
import { handleLargeFiles, type LargeFileDeps, type Parts } from './large-files.js'
import type { Place } from './places.js'
import type { Lookup } from './settings.js'

export interface DeliverDeps extends LargeFileDeps {
  readonly clock: Clock
  /** The message's attachments as octets. Throws AttachmentFailure. */
  fetchAttachments(content: Content, lookup: Lookup, signal: AbortSignal): Promise<Fetched>
  /** Of a claim that came without it. */
  loadContent(seq: number): Promise<Content>
  readonly transport: MailTransport
  readonly journal: DoubtJournal
  /** Least time the lease must have left when the final dot goes out. */
  readonly marginMs: number
}

/** One send, for whoever may have to break it off. */
export interface Sending extends Underway {
  /** What it sends, when its envelope went out ahead; null also once it has ended. */
  letter: Letter | null
  /** The content is going out. */
  isBegun: boolean
  /** The attachments are there, the server is asked now. */
  isAsked: boolean
  /** Is told then. */
  place?: Pick<Place, 'asks'>
  /** Which message follows over the same connection (`SendOptions.next`); undefined once it has ended. */
  next?: (() => Letter | null) | undefined
}

/** Reason to abort a send whose server does not answer and whose place another one needs: that costs an attempt. */
export const HUNG = new Error('the server did not answer in time, and others waited')

/** Never throws what a server, a network or a client caused: every failure is an outcome. */
export async function deliver(
  claimed: ClaimedMessage,
  lookup: Lookup,
  lease: Lease,
  deps: DeliverDeps,
  sending: Sending,
): Promise<Outcome> {
  const { signal } = sending.abort
  const { clock, transport, journal, marginMs } = deps
  const { account } = lookup
  const open = openInOrder(claimed, sending.letter, account.maxRecipientsPerTransaction)
  const startedAt = clock.now()
  let conversation: string[] | undefined
  const facts = () => ({
    n: claimed.attempts + 1,
    startedAt,
    durationMs: clock.monotonic() - sending.since,
    conversation,
  })
  const beforeFinalDot = () => {
    checkExpiry(claimed, clock, true)
    checkLease(lease, marginMs)
    const journalled = journalling(true, () => journal.append(lease.id, claimed))
    // A file's entry is written by now, and so is one that was expected: body and dot may leave in one piece. While another is
    // on its way the process may be frozen, and declared dead: check once more.
    return journalled?.then(() => checkLease(lease, marginMs))
  }
  let fetched: Fetched | undefined
  try {
    let { letter } = sending
    if (letter === null) {
      checkExpiry(claimed, clock, false)
      // The server is spared a transaction that would end before its final dot.
      journalling(false, () => journal.check(lease.id))
      const content = claimed.content ?? (await deps.loadContent(claimed.seq))
      if (content.attachments !== undefined) fetched = await deps.fetchAttachments(content, lookup, signal)
      const given = { content, attachments: fetched?.attachments ?? [] }
      const parts = await handleLargeFiles(claimed.id, given, lookup.tenant, deps, signal)
      if (content.keepConversation) conversation = []
      letter = letterOf(claimed, parts, lookup)
    }
    sending.isAsked = true
    sending.place?.asks()
    const onContent = () => {
      sending.isBegun = true
    }
    const options = { signal, beforeFinalDot, conversation, onContent, next: sending.next }
    const replies = await transport.send(account, letter.envelope, letter.mail, options)
    return classifyReplies(replies, open, facts())
  } catch (error) {
    // Broken off by us before the dot: the message did nothing wrong and loses nothing.
    if (signal.aborted && error instanceof SmtpFailure && !error.info.afterDot) {
      if (signal.reason === HUNG) return classifyError(hung(error), open, facts())
      return classifyError(new Interrupted('stopped', error.info.reachedData), open, facts())
    }
    return classifyError(asOutcome(error, signal), open, facts())
  } finally {
    fetched?.release()
  }
}

/** What went wrong before a server was asked. */
function asOutcome(error: unknown, signal: AbortSignal): unknown {
  if (error instanceof DatabaseUnavailable) return new Interrupted('the database went away', false)
  if (!(error instanceof AttachmentFailure)) return error
  // Stopped by us, the source did nothing wrong.
  if (signal.aborted && signal.reason !== HUNG) return new Interrupted('stopped', false)
  const permanent = error.kind === 'permanent'
  return new Undeliverable(error.message, 'attachment_failed', permanent)
}

function hung({ info }: SmtpFailure): SmtpFailure {
  return new SmtpFailure(`Given up ${phaseWords(info.phase)}: ${HUNG.message}`, { ...info, scope: 'session' })
}

/** Claimed in time and then kept waiting: given back, it is claimed no more, and is ended as expired. */
function checkExpiry({ expiresAt }: ClaimedMessage, clock: Clock, reachedData: boolean): void {
  if (expiresAt === null || expiresAt > clock.now()) return
  throw new Interrupted('it expired before it could be sent', reachedData)
}

/** A process frozen past its lease must not send: the message may be another's by now. */
function checkLease(lease: Lease, marginMs: number): void {
  if (!lease.hasMargin(marginMs)) throw new Interrupted('the lease ran out before the final dot', true)
}

/** An attempt that cannot be journalled is not made: as if never claimed. */
function journalling(reachedData: boolean, work: () => Promise<void> | undefined | void): Promise<void> | undefined {
  try {
    return work()?.catch(error => {
      throw notJournalled(error, reachedData)
    })
  } catch (error) {
    throw notJournalled(error, reachedData)
  }
}

function notJournalled(error: unknown, reachedData: boolean): Interrupted {
  return new Interrupted(`the attempt could not be journalled: ${(error as Error).message}`, reachedData)
}

/**
 * The letter of a message whose envelope may go ahead of its turn; null for one that has to wait for it: its parts are
 * not at hand, what was said is to be kept, or it cannot go at all, which is told in its turn.
 */
export function letterAhead(claimed: ClaimedMessage, lookup: Lookup, now: number): Letter | null {
  const { content, expiresAt } = claimed
  if (content === null || content.attachments !== undefined || content.keepConversation) return null
  if (expiresAt !== null && expiresAt <= now) return null
  try {
    return letterOf(claimed, { content, attachments: [] }, lookup)
  } catch {
    return null
  }
}

function letterOf(claimed: ClaimedMessage, parts: Parts, { account }: Lookup): Letter {
  const most = account.maxRecipientsPerTransaction
  const open = openRecipients(claimed, most)
  const to = open.length > most ? open.slice(0, most) : open
  return { envelope: { from: claimed.envelope.from, to }, mail: render(claimed, parts) }
}

/** Replies are told apart by their order, and a letter made ahead keeps its own, whatever the account says by now. */
function openInOrder(claimed: ClaimedMessage, ahead: Letter | null, most: number): readonly string[] {
  const open = openRecipients(claimed, most)
  // Of an untouched message the letter has the first ones.
  if (ahead === null || claimed.recipients === null) return open
  return [...new Set([...ahead.envelope.to, ...open])]
}

/** In the order in which they are to be asked: a transaction may be too small for all. */
function openRecipients({ envelope, recipients, attempts }: ClaimedMessage, most: number): readonly string[] {
  if (recipients === null) return envelope.to
  const open = recipients.filter(each => each.status === 'open')
  const asked = open.filter(each => each.reply !== null)
  // Those who were never asked come first. Of the others each attempt begins where the one before ended, or the first of
  // them, put off again and again, would use up the attempts of all.
  const first = asked.length === 0 ? 0 : (attempts * most) % asked.length
  return [...open.filter(each => each.reply === null), ...asked.slice(first), ...asked.slice(0, first)].map(
    ({ address }) => address,
  )
}

function render(claimed: ClaimedMessage, { content, attachments }: Parts) {
  const { tenantId, id, createdAt, envelope } = claimed
  try {
    return renderMail({ tenantId, id, createdAt, content, envelope }, attachments)
  } catch (error) {
    throw new Undeliverable(`the message cannot be rendered: ${(error as Error).message}`, 'render_failed', true)
  }
}
