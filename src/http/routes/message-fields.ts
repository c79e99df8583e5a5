/**
 * A submitted message as the API's description shows it. Nothing is judged by it: parseMessage does that, each message
 * alone, so that a wrong one does not fail the request. A test holds the names to what parseMessage reads.
 */
import { Flag, Given, Int, UnixTime } from '../schemas.js'
import { Type } from '../type.js'

const text = (description: string, options: object = {}) => Given(Type.String({ ...options, description }))
const addresses = (description: string) =>
  Given(Type.Union([Type.String(), Type.Array(Type.String())], { description }))

const Auth = Type.Object({
  method: Type.Union([Type.Literal('none'), Type.Literal('bearer'), Type.Literal('basic')]),
  token: text('For bearer'),
  user: text('For basic'),
  password: text('For basic'),
})

const Attachment = Type.Object({
  filename: Type.String({ minLength: 1, maxLength: 255, description: 'Shown to the recipient' }),
  storage_path: Type.String({
    minLength: 1,
    description: 'Where it lies, or base64:<content>; see docs/attachments.md',
  }),
  fetch_mode: text(
    'base64, http_url, endpoint, filesystem or volume (alias storage); left out: by the form of storage_path',
  ),
  mime_type: text('Left out: by the file name', { maxLength: 255 }),
  content_md5: text('32 hex digits'),
  content_id: text('An inline part, for cid: in html', { maxLength: 255 }),
  auth: Given(Auth),
})

const Message = Type.Object(
  {
    id: Type.String({ minLength: 1, maxLength: 255, description: 'The idempotency key within the tenant' }),
    tenant_id: text('The admin only; left out: the tenant that alone has account_id, else default'),
    account_id: text("Left out: the tenant's only account, or its default one"),
    from: Type.String({ description: 'One address with or without display name; from_addr is an alias' }),
    from_addr: text('Alias of from'),
    to: Type.Union([Type.String(), Type.Array(Type.String())], { description: 'A list, or a string with commas' }),
    cc: addresses('As to'),
    bcc: addresses('As to; in the envelope only'),
    reply_to: addresses('One address or several'),
    return_path: text('Envelope sender; <> is the null reverse-path; left out: the address of from'),
    subject: Type.String({ minLength: 1, maxLength: 10_000 }),
    body: text('One body, of content_type'),
    content_type: text('html or text/html; anything else is plain'),
    body_text: text('In place of body; with body_html multipart/alternative'),
    body_html: text('In place of body; with body_text multipart/alternative'),
    headers: Given(Type.Record(Type.String(), Type.Unknown(), { description: 'Up to 200 values' })),
    message_id: text('Left out: derived, the same at every attempt'),
    attachments: Given(Type.Array(Attachment, { maxItems: 1000 })),
    priority: Given(
      Type.Union([Int(), Type.String()], {
        description: '0 to 3, or immediate, high, medium, low; beyond: the nearest',
      }),
    ),
    deferred_ts: Given(UnixTime),
    expires_ts: Given(UnixTime),
    batch_code: text('For suspending; * is reserved', { maxLength: 64 }),
    keep_conversation: Given(Flag),
  },
  {
    title: 'Message',
    examples: [
      {
        id: 'order-4711',
        account_id: 'main',
        from: 'Shop <shop@example.org>',
        to: ['Ada <ada@example.net>'],
        subject: 'Your order',
        body: 'Thank you.',
        priority: 2,
      },
    ],
  },
)

/** The body of add-messages. */
export const DocumentedSubmission = Type.Object({
  messages: Type.Array(Message),
  default_priority: Given(
    Type.Union([Int(), Type.String()], { description: 'For messages without their own; as their priority' }),
  ),
  tenant_id: text('For the admin: the tenant of messages that name none'),
})
