/**
 * The mail of an invented shop: mostly ordinary, and one of each awkward kind. `writeMessages` makes them as they go
 * to POST /commands/add-messages; nothing here knows how they are sent.
 */
import { randomBytes } from 'node:crypto'
import type { AttachmentInput } from 'genro-mail-proxy/client'
import { fileReferences } from './files.js'

/** An address the catcher does not have. */
export const REFUSED = 'nobody@customers.example'
/** An address the catcher takes only at the second attempt. */
export const GREYLISTED = 'stranger@customers.example'

/** Ids of the messages whose fate the ledger looks at one by one. */
export const SPECIAL = {
  refused: 'order-refused',
  halfRefused: 'order-half-refused',
  greylisted: 'order-greylisted',
  scheduled: 'order-scheduled',
  inlineImage: 'order-inline-image',
} as const

export const PRIORITIES = ['immediate', 'high', 'medium', 'low'] as const

export interface Mail {
  readonly id: string
  readonly from: string
  readonly to: readonly string[]
  readonly subject: string
  readonly priority: (typeof PRIORITIES)[number]
  readonly body?: string
  readonly content_type?: 'plain' | 'html'
  readonly body_text?: string
  readonly body_html?: string
  /** Unix seconds before which it must not leave. */
  readonly deferred_ts?: number
  readonly attachments?: readonly Attachment[]
}

export interface Attachment {
  readonly filename: string
  readonly mime_type: string
  /** `base64:` and the content, or where it is to be fetched from. */
  readonly storage_path: string
  readonly fetch_mode?: AttachmentInput['fetch_mode']
  readonly content_id?: string
}

/** `count` messages, the special ones spread among them; `scheduledAt` is in Unix seconds, `appUrl` serves files. */
export function writeMessages(count: number, scheduledAt: number, appUrl: string): Mail[] {
  const special = [...specialMessages(scheduledAt), ...filedMessages(appUrl)]
  const every = Math.floor(count / special.length)
  const offset = Math.floor(every / 2)
  return Array.from({ length: count }, (_, i) => {
    const awkward = i % every === offset ? special[Math.floor(i / every)] : undefined
    return awkward ?? ordinaryMessage(i + 1)
  })
}

const FROM = 'Café Größenwahn <orders@shop.example>'

const CUSTOMERS = [
  'Zoë Ångström <zoe@customers.example>',
  '山田太郎 <taro@customers.example>',
  '"O\'Brien, Aoife" <aoife@customers.example>',
  'Łukasz Żółć <lukasz@customers.example>',
  'ada@customers.example',
  'Ольга Иванова <olga@customers.example>',
]

const SUBJECTS = [
  (n: number) => `Your order ${n} is on its way`,
  (n: number) => `Danke schön für Bestellung ${n}: 12,50 €`,
  (n: number) => `Il tuo ordine n. ${n} è partito 🚚`,
  (n: number) => `ご注文 ${n} を発送しました`,
  (n: number) => `Заказ № ${n} отправлен`,
]

function ordinaryMessage(n: number): Mail {
  return {
    id: `order-${String(n).padStart(4, '0')}`,
    from: FROM,
    to: [pick(CUSTOMERS, n)],
    subject: pick(SUBJECTS, n)(1000 + n),
    // 1 immediate, 3 high, 12 medium and 4 low in twenty.
    priority: pick(PRIORITIES, [0, 1, 1, 1, 3, 3, 3, 3][n % 20] ?? 2),
    ...bodies(n),
    ...(n % 6 === 0 ? { attachments: [invoice(n)] } : {}),
  }
}

function bodies(n: number): Partial<Mail> {
  const text = `Hello,\r\n\r\nyour order ${1000 + n} has left our house.\r\n.\r\nGrüße, the café`
  const html = `<p>Hello,</p><p>your order <b>${1000 + n}</b> has left our house.</p><p>Grüße, the café</p>`
  if (n % 4 === 1) return { body: html, content_type: 'html' }
  if (n % 4 === 3) return { body_text: text, body_html: html }
  return { body: text }
}

function invoice(n: number): Attachment {
  return {
    filename: `Rechnung ${1000 + n} – Größe.pdf`,
    mime_type: 'application/pdf',
    storage_path: `base64:${randomBytes(1_000 + ((n * 977) % 40_000)).toString('base64')}`,
  }
}

function specialMessages(scheduledAt: number): Mail[] {
  const mail = { from: FROM, to: ['ada@customers.example'], priority: 'medium', body: 'Hello.' } as const
  return [
    { ...mail, id: SPECIAL.greylisted, to: [GREYLISTED], subject: 'Put off at first, taken later', priority: 'high' },
    { ...mail, id: SPECIAL.refused, to: [REFUSED], subject: 'To nobody' },
    { ...mail, id: SPECIAL.halfRefused, to: ['ada@customers.example', REFUSED], subject: 'To somebody and nobody' },
    { ...mail, id: SPECIAL.scheduled, subject: 'Not before its time', deferred_ts: scheduledAt },
    {
      ...mail,
      id: SPECIAL.inlineImage,
      subject: 'With a picture in the text 🖼',
      body: '<p>A pixel: <img src="cid:pixel@shop.example" alt="pixel"></p>',
      content_type: 'html',
      attachments: [
        {
          filename: 'pixel.png',
          mime_type: 'image/png',
          storage_path: `base64:${PIXEL}`,
          content_id: 'pixel@shop.example',
        },
      ],
    },
  ]
}

function filedMessages(appUrl: string): Mail[] {
  return fileReferences(appUrl).map(({ id, attachment }) => ({
    id,
    from: FROM,
    to: ['ada@customers.example'],
    priority: 'medium',
    subject: `With ${attachment.filename}, fetched when it is sent`,
    body: 'The file comes from where it lies.',
    attachments: [attachment],
  }))
}

/** A PNG of one pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

function pick<T>(from: readonly T[], n: number): T {
  return from[n % from.length]!
}
