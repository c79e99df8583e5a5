/** The shapes of messages in answers, for the API's description. */
import { Failure, OkWith } from '../schemas.js'
import { Type } from '../type.js'

const Rejected = Type.Object({
  index: Type.Integer({ description: "Place among the request's messages, from 0" }),
  id: Type.Union([Type.String(), Type.Null()]),
  reason: Type.String({ description: 'A sentence for a person' }),
  code: Type.String({ description: 'Stable, for programs; listed in docs/errors.md' }),
  field: Type.Optional(Type.String()),
})

const Warning = Type.Object({
  id: Type.Union([Type.String(), Type.Null()]),
  field: Type.String(),
  hint: Type.String(),
})

const outcome = {
  queued: Type.Integer(),
  rejected: Type.Array(Rejected),
  warnings: Type.Optional(Type.Array(Warning)),
}

/** The answers of add-messages. */
export const Submitted = OkWith(outcome)
export const NothingQueued = Type.Object(
  { ...Failure.properties, ...outcome },
  { description: 'Nothing was queued; also other failures of this status, which have no rejected' },
)

/** A page's end, to be given back as it came. */
export const Cursor = Type.String({ pattern: '^[0-9]{1,15}$', description: 'next_cursor of the page before' })

const Recipient = Type.Object({
  address: Type.String(),
  status: Type.Union([Type.Literal('open'), Type.Literal('accepted'), Type.Literal('refused')]),
  code: Type.Union([Type.String(), Type.Null()]),
  reply: Type.Union([Type.String(), Type.Null()]),
})

const HistoryEntry = Type.Object({
  event_id: Type.Integer(),
  event_type: Type.String(),
  event_ts: Type.Integer(),
  description: Type.Optional(Type.String()),
  metadata: Type.Optional(Type.Unknown()),
  reported_ts: Type.Optional(Type.Integer()),
})

const optionalText = Type.Optional(Type.String())
const optionalTime = Type.Optional(Type.Integer({ description: 'Unix seconds' }))

export const MessageRecord = Type.Object(
  {
    pk: Type.String({ description: '22 characters that sort by time' }),
    id: Type.String(),
    tenant_id: Type.String(),
    tenant_name: optionalText,
    account_id: Type.String(),
    status: Type.String({ description: 'pending, deferred, sending, sent, error, cancelled or in_doubt' }),
    priority: Type.Integer(),
    subject: optionalText,
    batch_code: optionalText,
    deferred_ts: optionalTime,
    deferred_reason: optionalText,
    sent_ts: optionalTime,
    error_ts: optionalTime,
    error: optionalText,
    code: optionalText,
    reported_ts: optionalTime,
    attempts: Type.Integer(),
    recipients: Type.Optional(Type.Array(Recipient)),
    is_pec: Type.Boolean(),
    created_at: Type.String(),
    updated_at: Type.String(),
    message: Type.Optional(Type.Unknown({ description: 'As submitted; base64 content left out, credentials masked' })),
    message_omitted: Type.Optional(Type.Boolean({ description: 'Its content is too long for a list' })),
    history: Type.Optional(Type.Array(HistoryEntry)),
    attempt_log: Type.Optional(Type.Array(Type.Unknown({ description: 'An SMTP attempt with the server’s replies' }))),
    waiting_for: Type.Optional(
      Type.Union([Type.String(), Type.Null()], {
        description: 'schedule, retry, limit, rule, suspension, paused_account or queue',
      }),
    ),
    next_attempt_ts: Type.Optional(Type.Union([Type.Integer(), Type.Null()])),
    waiting_detail: optionalText,
  },
  { title: 'MessageRecord' },
)
