/** Takes one claimed message to its outcome: attachments, render, one SMTP transaction, classification. */
import type { Account } from '../accounts/account.js'
import { fetchAttachments } from '../attachments/fetch.js'
import type { Clock } from '../lib/clock.js'
import { renderMail } from '../mime/render.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import type { Lease } from '../queue/lease.js'
import type { Outcome } from '../queue/outcome.js'
import { phaseWords } from '../smtp/failures.js'
import { type Mail, type MailTransport, SmtpFailure } from '../smtp/transport.js'
import { classifyError, classifyReplies, Interrupted, Undeliverable } from './classify.js'

export interface DeliverDeps {
  readonly clock: Clock
  readonly transport: MailTransport
  readonly journal: DoubtJournal
  readonly lease: Lease
  /** Least time the lease must have left when the final dot goes out. */
  readonly marginMs: number
}

/** One send, for whoever may have to break it off. */
export interface Sending {
  readonly abort: AbortController
  /** The content is going out. */
  isBegun: boolean
}

/** Reason to abort a send whose server does not answer and whose place another one needs: that costs an attempt. */
export const HUNG = new Error('the server did not answer in time, and others waited')

/** Never throws what a server, a network or a client caused: every failure is an outcome. */
export async function deliver(
  claimed: ClaimedMessage,
  account: Account,
  deps: DeliverDeps,
  sending: Sending,
): Promise<Outcome> {
  const { signal } = sending.abort
  const { clock, transport, journal, lease, marginMs } = deps
  const open = openRecipients(claimed)
  const startedAt = clock.now()
  const from = clock.monotonic()
  const facts = () => ({ n: claimed.attempts + 1, startedAt, durationMs: clock.monotonic() - from })
  // A process frozen past its lease must not send: the message may be another's by now.
  const checkLease = () => {
    if (!lease.hasMargin(marginMs)) throw new Interrupted('the lease ran out before the final dot', true)
  }
  // Claimed in time and then kept waiting: given back, it is claimed no more, and is ended as expired.
  const checkExpiry = (reachedData: boolean) => {
    if (claimed.expiresAt === null || claimed.expiresAt > clock.now()) return
    throw new Interrupted('it expired before it could be sent', reachedData)
  }
  const beforeFinalDot = () => {
    checkExpiry(true)
    checkLease()
    const journalled = append(journal, lease, claimed.seq)
    // A file's entry is written by now, and body and dot may leave in one piece. With a table's, check once more: frozen
    // while the entry was on its way, the process may have been declared dead.
    return journalled?.then(checkLease)
  }
  try {
    checkExpiry(false)
    const attachments = await fetchAttachments(claimed.content.attachments ?? [])
    const mail = watched(render(claimed, attachments), sending)
    const envelope = { from: claimed.envelope.from, to: open.slice(0, account.maxRecipientsPerTransaction) }
    const replies = await transport.send(account, envelope, mail, { signal, beforeFinalDot })
    return classifyReplies(replies, open, facts())
  } catch (error) {
    // Broken off by us before the dot: the message did nothing wrong and loses nothing.
    if (signal.aborted && error instanceof SmtpFailure && !error.info.afterDot) {
      if (signal.reason === HUNG) return classifyError(hung(error), open, facts())
      return classifyError(new Interrupted('stopped', error.info.reachedData), open, facts())
    }
    return classifyError(error, open, facts())
  }
}

function watched(mail: Mail, sending: Sending): Mail {
  return {
    ...mail,
    open() {
      sending.isBegun = true
      return mail.open()
    },
  }
}

function hung({ info }: SmtpFailure): SmtpFailure {
  return new SmtpFailure(`Given up ${phaseWords(info.phase)}: ${HUNG.message}`, { ...info, scope: 'session' })
}

/** An attempt that cannot be journalled is not made: as if never claimed. */
function append(journal: DoubtJournal, lease: Lease, seq: number): Promise<void> | undefined {
  const failed = (error: unknown): never => {
    throw new Interrupted(`the attempt could not be journalled: ${(error as Error).message}`, true)
  }
  try {
    return journal.append(lease.id, seq)?.catch(failed)
  } catch (error) {
    return failed(error)
  }
}

function openRecipients({ envelope, recipients }: ClaimedMessage): readonly string[] {
  if (recipients === null) return envelope.to
  const done = new Set(recipients.filter(each => each.status !== 'open').map(each => each.address))
  return envelope.to.filter(address => !done.has(address))
}

function render(claimed: ClaimedMessage, attachments: Awaited<ReturnType<typeof fetchAttachments>>) {
  const { id, tenantId, content, envelope, createdAt } = claimed
  try {
    return renderMail(
      { id, content, envelope, createdAt, messageIdSeed: `${tenantId} ${id} ${createdAt}` },
      attachments,
    )
  } catch (error) {
    throw new Undeliverable(`the message cannot be rendered: ${(error as Error).message}`, 'render_failed', true)
  }
}
