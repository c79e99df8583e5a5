/**
 * Takes submitted messages in: parsed, given a tenant and an account, stored durably. Each is judged alone; what is
 * refused leaves no trace. Not atomic: when the database fails half-way the request fails, the units before stand, and
 * sending it again is harmless because ids are idempotency keys.
 */
import { DatabaseUnavailable, type Db, SealingKeyChanged } from '../db/db.js'
import { sealedAnew } from '../db/key-fence.js'
import type { Clock } from '../lib/clock.js'
import { AppError } from '../lib/errors.js'
import { gather } from '../lib/gather.js'
import type { Sealer } from '../lib/sealer.js'
import { hasShareNow, shareOfTurn } from '../lib/turn-share.js'
import type { Wake } from '../lib/wake.js'
import { type EnqueueAnswer, enqueue, keyOf, uploadsOf } from '../queue/enqueue.js'
import type { KeptContents } from '../queue/kept-contents.js'
import { dropUploads, storeUpload } from '../queue/uploads.js'
import type { KnownVolumes } from '../volumes/known.js'
import { problemOfName } from '../volumes/name.js'
import { sealAttachmentAuth } from './attachment-auth.js'
import { type AttachmentSources, findVolumes, judgeSources, type SourceRefusal } from './attachment-sources.js'
import type { AttachmentRef, Content, InlineUpload, Message, Priority } from './message.js'
import { type ParseContext, type ParsedMessage, parseMessage } from './parse.js'
import { FOREIGN, type Rejection, refusalOf, sayAnswer } from './rejection.js'
import { createResolve, type Destination, type Resolve } from './resolve.js'
import type { FieldWarning } from './unknown-fields.js'

/** The most that one request may bring. */
export const MAX_MESSAGES = 10_000
/** One unit of the database: large enough to share its cost, small enough that claims and sends get in between. */
const UNIT = 250
/** More at once take their share of a turn of the event loop: some 6 µs each. */
const FEW = 32
/** A request full of unknown fields gets its answer all the same, not one larger than itself. */
const MAX_WARNINGS = 1_000

export interface AcceptDeps {
  readonly db: Db
  readonly clock: Clock
  readonly sealer: Sealer
  readonly wake: Pick<Wake, 'queue'>
  /** The instance's, for messages and requests without their own. */
  readonly defaultPriority: Priority
  readonly volumes: Pick<KnownVolumes, 'exist'>
  readonly sources: AttachmentSources
  /** Absent or null: contents are not kept for their claim. */
  readonly kept?: KeptContents | null
}

/** Who submits: limited to one tenant, or an admin. */
export type Submitter = { readonly kind: 'admin' } | { readonly kind: 'tenant'; readonly tenantId: string }

export interface AcceptOptions {
  /** The request's; null: the instance's. */
  readonly defaultPriority: Priority | null
  /** Unknown fields refuse a message instead of warning. */
  readonly strict: boolean
  /** For messages that name no tenant; null: the submitter's own, or found by the account. */
  readonly tenantId: string | null
  /** traceparent of the request; absent or null: there are no traces. */
  readonly trace?: string | null
  /** Long contents of attachments that were taken out of the request, by what stands in their place. */
  readonly uploads?: ReadonlyMap<string, InlineUpload>
}

export interface Accepted {
  /** Durable by now. Of two equal ids both count. */
  readonly queued: number
  /** In the order of the request. */
  readonly rejected: readonly Rejection[]
  readonly warnings: readonly FieldWarning[]
}

/**
 * `given`: the messages, or a stream of pieces of them. Throws AppError for more than MAX_MESSAGES; of a stream that only
 * shows on the way, so count first where possible.
 */
export type AcceptMessages = (
  submitter: Submitter,
  given: AsyncIterable<readonly unknown[]> | readonly unknown[],
  options: AcceptOptions,
) => Promise<Accepted>

/** Requests that come at the same time share queries and units of the database; each has its own answer. */
export function createAcceptance(deps: AcceptDeps): AcceptMessages {
  const { db, clock } = deps
  // SQLite has one writer: a second unit is there when the first is done, more would only be smaller ones. On PostgreSQL one
  // that waits for a lock must not hold up the others.
  const isAlone = db.dialect === 'sqlite'
  const together = { most: UNIT, atOnce: isAlone ? 2 : 4, isCommon: isAway }
  const store = async (entries: readonly Entry[]) => {
    // Without a wait for nothing, after which it would be handed on a turn later.
    if (entries.length > FEW && !hasShareNow()) await shareOfTurn()
    const quota = new Map<string, number>()
    for (const { message, most } of entries) if (most !== null) quota.set(message.tenantId, most)
    const messages = entries.map(each => each.message)
    const { answers, ready } = await enqueue(db, messages, { now: clock.now(), quota, kept: deps.kept })
    if (answers.includes('queued')) deps.wake.queue(ready)
    await dropUploads(db, supersededUploads(messages))
    return answers
  }
  // Where one process has the file a quota is counted exactly, so what is counted is stored before the next is.
  const isCounted = ({ message, most }: Entry) => isAlone && (most !== null || uploadsOf(message).length > 0)
  const queue: Queue = { resolve: createResolve(db, together), enqueue: gather(store, together, isCounted) }
  return async (submitter, given, options) => {
    if (isList(given)) {
      refuseTooMany(given.length)
      // A single message needs no stream, whose promises would be an eighth of what its request allocates.
      if (given.length <= UNIT) return acceptUnit(deps, queue, submitter, given, 0, options)
    }
    let seen = 0
    let queued = 0
    const rejected: Rejection[] = []
    const warnings: FieldWarning[] = []
    for await (const unit of unitsOf(isList(given) ? [given] : given)) {
      refuseTooMany(seen + unit.length)
      const accepted = await acceptUnit(deps, queue, submitter, unit, seen, options)
      seen += unit.length
      queued += accepted.queued
      rejected.push(...accepted.rejected)
      warnings.push(...accepted.warnings.slice(0, MAX_WARNINGS - warnings.length))
    }
    return { queued, rejected, warnings }
  }
}

function isList(given: AsyncIterable<readonly unknown[]> | readonly unknown[]): given is readonly unknown[] {
  return Array.isArray(given)
}

/**
 * Whether the unit was written nobody knows then. Stored a second time what it brought may be under way, and would be refused
 * for that; its client asks again, knowing as much.
 */
function isAway(error: unknown): boolean {
  return error instanceof DatabaseUnavailable && !(error instanceof SealingKeyChanged)
}

/** Of requests at the same time that bring the same id: the last content wins, and nobody takes up the others'. */
function supersededUploads(messages: readonly Message[]): number[] {
  if (messages.every(({ content }) => content.attachments === undefined)) return []
  const last = new Map(messages.map(message => [keyOf(message.tenantId, message.id), message]))
  return messages.filter(each => last.get(keyOf(each.tenantId, each.id)) !== each).flatMap(uploadsOf)
}

/** The predecessor's words for too many, with its limit raised. */
export function refuseTooMany(count: number): void {
  if (count <= MAX_MESSAGES) return
  const error = `Cannot enqueue more than ${MAX_MESSAGES} messages at once`
  throw new AppError('bad_request', error, { detail: { error, rejected: null } })
}

async function* unitsOf(chunks: AsyncIterable<readonly unknown[]> | readonly (readonly unknown[])[]) {
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += UNIT) {
      yield chunk.length <= UNIT ? chunk : chunk.slice(start, start + UNIT)
    }
  }
}

/** A message on its way through the unit, with its place in the request. */
interface Candidate {
  readonly index: number
  readonly parsed: ParsedMessage
  /** What may be volumes' names in its attachments. */
  readonly maybe: readonly string[]
}

/** One that nothing speaks against but the queue. */
interface Taken {
  readonly index: number
  readonly parsed: ParsedMessage
  readonly tenantId: string
  readonly account: { readonly key: number; readonly id: string }
  /** How many messages the tenant may have waiting; null: any number. */
  readonly most: number | null
}

/** A message on its way into the queue, and how many its tenant may have there; null: any number. */
interface Entry {
  readonly message: Message
  readonly most: number | null
}

interface Queue {
  readonly resolve: Resolve
  enqueue(entries: readonly Entry[]): Promise<readonly EnqueueAnswer[]>
}

/** `first`: the place of the unit's first message in the request. */
async function acceptUnit(
  deps: AcceptDeps,
  queue: Queue,
  submitter: Submitter,
  unit: readonly unknown[],
  first: number,
  options: AcceptOptions,
): Promise<Accepted> {
  const rejected: Rejection[] = []
  const warnings: FieldWarning[] = []
  const context = contextOf(deps, options)
  const candidates = readUnit(unit, context, submitter, first, rejected, warnings)
  if (candidates.length === 0) return { queued: 0, rejected, warnings }

  const own = submitter.kind === 'tenant' ? submitter.tenantId : options.tenantId
  const destinations = await queue.resolve(
    candidates.map(({ parsed }) => ({ tenantId: parsed.tenantId ?? own, accountId: parsed.accountId })),
  )
  const volumes = candidates.some(hasAttachments) ? await volumesOf(deps, candidates, destinations) : null
  const taken: Taken[] = []
  for (const [at, { index, parsed: asRead, maybe }] of candidates.entries()) {
    const destination = destinations[at] ?? null
    const known = volumes?.[at] ?? NO_VOLUMES
    const parsed = maybe.some(name => known.has(name))
      ? parseAgain(unit[index - first], asRead, { ...context, isVolume: name => known.has(name) })
      : asRead
    const refusal =
      refusalOf(destination, parsed.accountId) ?? judgeAttachments(parsed, destination!, deps.sources, known)
    if (refusal !== null) {
      rejected.push({ index, id: parsed.id, ...refusal })
      continue
    }
    const { tenantId, maxQueuedMessages, account } = destination!
    taken.push({ index, parsed, tenantId, account: account!, most: maxQueuedMessages })
  }
  const stored = taken.some(hasUploads) ? await withUploads(deps, taken) : taken
  const queued = stored.length === 0 ? 0 : await putIn(deps, queue, stored, submitter, options, rejected)
  rejected.sort((a, b) => a.index - b.index)
  return { queued, rejected, warnings }
}

interface UnitContext extends ParseContext {
  /** What may be volumes' names in the message that was parsed last. */
  readonly asked: string[]
}

function contextOf(deps: AcceptDeps, { defaultPriority, strict, uploads }: AcceptOptions): UnitContext {
  const asked: string[] = []
  return {
    defaultPriority: defaultPriority ?? deps.defaultPriority,
    strict,
    uploads,
    asked,
    // Whose message it is shows only later: until then it is the endpoint's, and the names are noted.
    isVolume(name: string) {
      if (problemOfName(name) === null) asked.push(name)
      return false
    },
  }
}

/** What of the unit is a message that its submitter may bring; the others are told among the rejected. */
function readUnit(
  unit: readonly unknown[],
  context: UnitContext,
  submitter: Submitter,
  first: number,
  rejected: Rejection[],
  warnings: FieldWarning[],
): Candidate[] {
  const { asked } = context
  const candidates: Candidate[] = []
  for (let at = 0; at < unit.length; at += 1) {
    const index = first + at
    asked.length = 0
    const result = parseMessage(unit[at], context)
    if (!result.ok) {
      const { id, reason, code, field } = result
      rejected.push({ index, id, reason, code, ...(field === null ? {} : { field }) })
    } else if (isForeign(submitter, result.message)) {
      rejected.push({ index, id: result.message.id, ...FOREIGN })
    } else {
      candidates.push({ index, parsed: result.message, maybe: asked.length === 0 ? NOTHING : [...asked] })
      if (result.warnings.length > 0) warnings.push(...result.warnings.slice(0, MAX_WARNINGS - warnings.length))
    }
  }
  return candidates
}

function hasAttachments({ parsed }: Candidate): boolean {
  return parsed.content.attachments !== undefined
}

/** For each candidate the names among those it mentions that are volumes it may use. */
function volumesOf(
  { volumes }: AcceptDeps,
  candidates: readonly Candidate[],
  destinations: readonly (Destination | null)[],
): Promise<readonly ReadonlySet<string>[]> {
  return findVolumes(
    volumes,
    candidates.map(({ parsed, maybe }, at) => {
      const { tenantId, account } = destinations[at] ?? { account: null }
      const attachments = parsed.content.attachments
      if (attachments === undefined || account === null) return null
      return { tenantId: tenantId!, accountId: account.id, attachments, maybe }
    }),
  )
}

/** Into the queue; how many are there then. What the queue refuses is told among the rejected. */
async function putIn(
  deps: AcceptDeps,
  queue: Queue,
  taken: readonly Taken[],
  submitter: Submitter,
  { trace }: AcceptOptions,
  rejected: Rejection[],
): Promise<number> {
  let entries: readonly Entry[] = []
  const answers = await sealedAnew(deps.sealer, () => {
    entries = taken.map(({ parsed, tenantId, account, most }) => ({
      message: toMessage(parsed, tenantId, account, deps.sealer, submitter, trace),
      most,
    }))
    return queue.enqueue(entries)
  })
  let queued = 0
  for (const [at, answer] of answers.entries()) {
    const { message, most } = entries[at]!
    if (answer === 'queued') {
      queued += 1
    } else {
      rejected.push({ index: taken[at]!.index, id: message.id, ...sayAnswer(answer, most) })
      await dropUploads(deps.db, uploadsOf(message))
    }
  }
  return queued
}

function hasUploads({ parsed }: Taken): boolean {
  return parsed.uploads.size > 0
}

/** With their uploads stored. Of two equal ids the last content wins: that of the other would lie there for nobody. */
async function withUploads(deps: AcceptDeps, taken: readonly Taken[]): Promise<Taken[]> {
  const last = new Map(taken.map(each => [keyOf(each.tenantId, each.parsed.id), each]))
  const stored: Taken[] = []
  for (const each of taken) {
    const isStored = hasUploads(each) && last.get(keyOf(each.tenantId, each.parsed.id)) === each
    stored.push(isStored ? { ...each, parsed: await storeUploads(deps, each.parsed) } : each)
  }
  return stored
}

/** Before its message and in units of their own; what no message takes up in the end is removed. */
async function storeUploads({ db, clock }: AcceptDeps, parsed: ParsedMessage): Promise<ParsedMessage> {
  const attachments: AttachmentRef[] = [...(parsed.content.attachments ?? [])]
  for (const [index, { parts }] of parsed.uploads) {
    attachments[index] = { ...attachments[index]!, upload: await storeUpload(db, parts, clock.now()) }
  }
  return { ...parsed, content: { ...parsed.content, attachments } }
}

function isForeign(submitter: Submitter, { tenantId }: ParsedMessage): boolean {
  return submitter.kind === 'tenant' && tenantId !== null && tenantId !== submitter.tenantId
}

const NOTHING: readonly string[] = []
const NO_VOLUMES: ReadonlySet<string> = new Set()

/** Only where its attachments come from is understood otherwise. */
function parseAgain(raw: unknown, first: ParsedMessage, context: ParseContext): ParsedMessage {
  const result = parseMessage(raw, context)
  return result.ok ? result.message : first
}

function judgeAttachments(
  { content: { attachments } }: ParsedMessage,
  { hasEndpoint }: Destination,
  { baseDir, baseUrl }: AttachmentSources,
  volumes: ReadonlySet<string>,
): SourceRefusal | null {
  return attachments === undefined ? null : judgeSources(attachments, { baseDir, baseUrl, hasEndpoint }, volumes)
}

/** Files of this machine are a tenant's own only below its directory. */
function tenants(content: Content): Content {
  if (content.attachments?.some(each => each.fetchMode === 'filesystem') !== true) return content
  const mark = (each: AttachmentRef) => (each.fetchMode === 'filesystem' ? { ...each, isTenants: true as const } : each)
  return { ...content, attachments: content.attachments.map(mark) }
}

function toMessage(
  parsed: ParsedMessage,
  tenantId: string,
  account: { key: number; id: string },
  sealer: Sealer,
  submitter: Submitter,
  trace?: string | null,
): Message {
  const own = submitter.kind === 'tenant' ? tenants(parsed.content) : parsed.content
  const content = sealAttachmentAuth(own, tenantId, sealer)
  return {
    tenantId,
    id: parsed.id,
    accountKey: account.key,
    accountId: account.id,
    priority: parsed.priority,
    batchCode: parsed.batchCode,
    notBefore: parsed.notBefore,
    expiresAt: parsed.expiresAt,
    envelope: parsed.envelope,
    content,
    sealedWith: content === own ? undefined : sealer.keyCheck,
    trace,
  }
}
