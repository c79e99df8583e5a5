/** Messages: submitting, listing, looking at one, and what an operator may do to one. */
import type { Db, Row } from '../../db/db.js'
import { AppError } from '../../lib/errors.js'
import type { Ready } from '../../lib/wake.js'
import { createAcceptance, MAX_MESSAGES, refuseTooMany } from '../../messages/accept.js'
import { findMessage, ownersOf } from '../../messages/find.js'
import { listMessages } from '../../messages/list.js'
import { priorityOf } from '../../messages/priority.js'
import { findUnknown, sayUnknown, type UnknownField, warningOf } from '../../messages/unknown-fields.js'
import {
  cancelMessage,
  discardMessage,
  type Operated,
  releaseMessage,
  retryMessage,
  type Target,
} from '../../queue/operate.js'
import type { App } from '../app.js'
import { audit, createIdDigest } from '../audit.js'
import type { HttpDeps } from '../deps.js'
import { messageCount, messagesOf, takenUploads } from '../parse-body.js'
import { AnyId, Flag, Given, Int, OkWith, TenantBody, TenantQuery, UnixTime } from '../schemas.js'
import { contextOf } from '../trace-requests.js'
import { Type } from '../type.js'
import { wrongField } from '../validate.js'
import { answerAccepted } from './accepted-answer.js'
import { DocumentedSubmission } from './message-fields.js'
import { Cursor, MessageRecord, NothingQueued, Submitted } from './message-schemas.js'

const BODY_FIELDS: ReadonlySet<string> = new Set(['messages', 'default_priority', 'tenant_id'])
const IdParams = Type.Object({ id: Type.String({ minLength: 1, maxLength: 255 }) })

export function messageRoutes(app: App, deps: HttpDeps): void {
  addSubmission(app, deps)
  addReading(app, deps)
  addOperations(app, deps)
}

function addSubmission(app: App, deps: HttpDeps): void {
  const { db, clock, sealer, wake, config } = deps
  const acceptMessages = createAcceptance({
    db,
    clock,
    sealer,
    wake,
    defaultPriority: config.queue.defaultPriority,
    volumes: deps.knownVolumes,
    sources: config.attachments,
    kept: deps.keptContents,
  })
  app.post(
    '/commands/add-messages',
    {
      config: {
        access: 'tenant',
        manyMessages: true,
        submission: true,
        audit: 'addMessages',
        documentedBody: DocumentedSubmission,
      },
      schema: {
        summary: 'Submit messages',
        description: `Up to ${MAX_MESSAGES} messages, each judged alone; what the answer calls queued is durable. A retry is idempotent.`,
        tags: ['messages'],
        querystring: Type.Object({ tenant_id: Type.Optional(AnyId), strict: Type.Optional(Flag) }),
        body: Type.Object({
          messages: Type.Array(Type.Unknown()),
          default_priority: Type.Optional(Type.Unknown()),
          tenant_id: Given(AnyId),
        }),
        response: { 200: Submitted, 400: NothingQueued, 429: NothingQueued },
      },
    },
    async (request, reply) => {
      const given = request.body.default_priority ?? null
      const defaultPriority = given === null ? null : priorityOf(given)
      if (given !== null && defaultPriority === null) {
        throw wrongField('default_priority', 'Input should be 0 to 3 or immediate, high, medium, low')
      }
      const strict = request.query.strict === true
      const unknown: UnknownField[] = []
      findUnknown(request.body, BODY_FIELDS, '', unknown)
      if (strict && unknown[0] !== undefined) throw wrongField(unknown[0].field, sayUnknown(unknown[0]))
      refuseTooMany(messageCount(request))
      const noted = createIdDigest()
      const options = {
        defaultPriority,
        strict,
        tenantId: request.tenantScope,
        uploads: takenUploads(request),
        trace: contextOf(request),
      }
      const messages = noting(messagesOf(request), noted.add)
      // Also of a request that failed half-way: some of it may stand.
      const accepted = await acceptMessages(request.caller, messages, options).finally(() => {
        // Not spread: V8 made a hidden class anew of each that got another field then, among its old objects.
        const { count, ids, digest } = noted.result()
        audit(request, { count, ids, digest, default_priority: defaultPriority === null ? undefined : given })
      })
      deps.accepted(accepted)
      const warnings = [...unknown.map(each => warningOf(null, each)), ...accepted.warnings]
      const { status, body } = answerAccepted({ ...accepted, warnings })
      // The failures are documented as every route's default response.
      return reply.code(status as 200).send(body as never)
    },
  )
}

/** Passes the messages on and tells their ids, for the command log. */
function noting(messages: ReturnType<typeof messagesOf>, note: (id: string) => void): typeof messages {
  if (Symbol.asyncIterator in messages) return notingEach(messages, note)
  for (const message of messages) note(idOf(message))
  return messages
}

async function* notingEach(chunks: AsyncIterable<readonly unknown[]>, note: (id: string) => void) {
  for await (const chunk of chunks) {
    for (const message of chunk) note(idOf(message))
    yield chunk
  }
}

function idOf(message: unknown): string {
  const id = (message as { id?: unknown } | null)?.id
  return typeof id === 'string' ? id.slice(0, 255) : ''
}

function addReading(app: App, { db, clock, nextOpening }: HttpDeps): void {
  app.get(
    '/messages',
    {
      config: { access: 'tenant' },
      schema: {
        summary: 'List messages, newest first',
        description:
          'A page may be short, or empty, and still have a next_cursor: a call looks at a bounded number of messages. ' +
          'Long contents are left out (message_omitted); GET /messages/{id} shows them.',
        tags: ['messages'],
        querystring: Type.Object({
          tenant_id: Type.Optional(AnyId),
          status: Type.Optional(
            Type.Union(
              (['pending', 'deferred', 'sending', 'sent', 'error', 'cancelled', 'in_doubt'] as const).map(status =>
                Type.Literal(status),
              ),
            ),
          ),
          account_id: Type.Optional(AnyId),
          batch_code: Type.Optional(AnyId),
          active_only: Type.Optional(Flag),
          include_history: Type.Optional(Flag),
          q: Type.Optional(Type.String({ maxLength: 200, description: 'Part of the id, the subject or an address' })),
          since: Type.Optional(UnixTime),
          until: Type.Optional(UnixTime),
          limit: Type.Optional(Int(1, 1000)),
          cursor: Type.Optional(Cursor),
        }),
        response: {
          200: OkWith({
            messages: Type.Array(MessageRecord),
            next_cursor: Type.Union([Type.String(), Type.Null()]),
          }),
        },
      },
    },
    async ({ query, tenantScope }) => {
      const page = await listMessages(db, {
        tenantId: tenantScope,
        status: query.status,
        accountId: query.account_id,
        batchCode: query.batch_code,
        activeOnly: query.active_only,
        text: query.q,
        since: query.since === undefined ? undefined : query.since * 1000,
        until: query.until === undefined ? undefined : query.until * 1000,
        includeHistory: query.include_history,
        limit: query.limit ?? 1000,
        before: query.cursor === undefined ? null : Number(query.cursor),
      })
      const next_cursor = page.next === null ? null : String(page.next)
      return { ok: true as const, messages: page.messages, next_cursor }
    },
  )

  app.get(
    '/messages/:id',
    {
      config: { access: 'tenant' },
      schema: {
        summary: 'One message: recipients, SMTP attempts, history, and what it waits for',
        tags: ['messages'],
        params: IdParams,
        querystring: TenantQuery,
        response: { 200: OkWith(MessageRecord.properties) },
      },
    },
    async ({ params: { id }, tenantScope }) => {
      const tenantId = await tenantOf(db, tenantScope, id)
      const found = await findMessage(db, { tenantId, id, now: clock.now(), nextOpening })
      if (found === null) throw notFound(id)
      return { ok: true as const, ...found }
    },
  )
}

interface Operation {
  readonly run: (db: Db, target: Target) => Promise<Operated>
  readonly summary: string
  /** Said when the message is not in a state for it. */
  readonly refusal: string
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  retry: {
    run: retryMessage,
    summary: 'Try a failed or cancelled message again',
    refusal: 'only a failed or cancelled message that no server accepted can be tried again',
  },
  cancel: {
    run: cancelMessage,
    summary: 'Cancel a waiting message',
    refusal: 'only a waiting message can be cancelled',
  },
  release: {
    run: releaseMessage,
    summary: 'Send a message in doubt again',
    refusal: 'only a message held in doubt can be released',
  },
  discard: {
    run: discardMessage,
    summary: 'Give up a message in doubt',
    refusal: 'only a message held in doubt can be discarded',
  },
}

function addOperations(app: App, { db, clock, wake }: HttpDeps): void {
  for (const [name, { run, summary, refusal }] of Object.entries(OPERATIONS)) {
    app.post(
      `/messages/:id/${name}`,
      {
        config: { access: 'tenant', audit: `${name}Message` },
        schema: {
          summary,
          tags: ['messages'],
          params: IdParams,
          querystring: TenantQuery,
          body: TenantBody,
          response: { 200: OkWith({ id: Type.String(), tenant_id: Type.String(), status: Type.String() }) },
        },
      },
      async ({ params: { id }, tenantScope }) => {
        const tenantId = await tenantOf(db, tenantScope, id)
        const result = await run(db, { tenantId, id, now: clock.now() })
        if (result === 'not_found') throw notFound(id)
        if (result === 'wrong_state') throw new AppError('command_failed', refusal)
        const [row] = await db.read({
          sql: 'select status, stage, account_key, account_id, priority, seq from messages where tenant_id = $1 and id = $2',
          params: [tenantId, id],
        })
        if (result === 'account_gone') {
          const gone = `its account '${row?.account_id}' was deleted: submit the message again through another one`
          throw new AppError('command_failed', gone)
        }
        if (row !== undefined && Number(row.stage) > 0) wake.queue([placeOf(row)])
        else wake.reports([tenantId])
        return { ok: true as const, id, tenant_id: tenantId, status: (row?.status as string | undefined) ?? 'deleted' }
      },
    )
  }
}

function placeOf({ account_key, priority, seq }: Row): Ready {
  return { accountKey: Number(account_key), priority: Number(priority), seq: Number(seq), onward: false }
}

async function tenantOf(db: Db, scope: string | null, id: string): Promise<string> {
  const tenantId = scope ?? (await ownersOf(db, [id])).get(id)
  if (tenantId === undefined) throw notFound(id)
  return tenantId
}

function notFound(id: string): AppError {
  return new AppError('not_found', `Message '${id}' not found`)
}
