/** Attachments by reference (spec section 6.1): which source is meant, and the content itself where it came along. */
import { createHash } from 'node:crypto'
import { stripMd5Marker } from '../attachments/filename.js'
import { readHttpAuth } from '../lib/http-auth.js'
import { isObject, isUnsafe, lineField, type Reading, refuseInvalid, refuseMissing, startReading } from './fields.js'
import type { AttachmentRef, FetchMode, InlineUpload } from './message.js'
import { findUnknown, type UnknownField } from './unknown-fields.js'

export interface AttachmentContext {
  readonly isVolume?: (name: string) => boolean
  /** Long contents that were taken out of the request, by what stands in their place. */
  readonly uploads?: ReadonlyMap<string, InlineUpload>
}

export interface Attachments {
  /** Absent when there are none. */
  readonly refs?: readonly AttachmentRef[]
  /** Contents that were taken out of the request, by the place of their attachment. */
  readonly uploads: ReadonlyMap<number, InlineUpload>
  /** Characters together. */
  readonly length: number
}

const NONE: Attachments = { uploads: new Map(), length: 0 }

const PREFIX = 'base64:'
const MAX_ATTACHMENTS = 1_000
const MAX_FILENAME = 255
const MAX_LOCATION = 4_096

export const ATTACHMENT_FIELDS: ReadonlySet<string> = new Set(
  'filename storage_path fetch_mode mime_type content_md5 content_id auth'.split(' '),
)

/** None where none are given, or one is refused. */
export function parseAttachments(reading: Reading, context: AttachmentContext, unknown: UnknownField[]): Attachments {
  const given = reading.source.attachments
  if (given === undefined || given === null) return NONE
  if (!Array.isArray(given)) return refuseInvalid(reading, 'attachments', 'must be a list') ?? NONE
  if (given.length > MAX_ATTACHMENTS) {
    return refuseInvalid(reading, 'attachments', `more than ${MAX_ATTACHMENTS} attachments`) ?? NONE
  }
  const refs: AttachmentRef[] = []
  const taking = { ...context, taken: new Map<number, InlineUpload>() }
  let length = 0
  for (const [index, each] of given.entries()) {
    const ref = parseOne(reading, each, index, taking, unknown)
    if (ref === null) return NONE
    length += ref.storagePath.length + (taking.taken.get(index)?.sizeBytes ?? 0)
    refs.push(ref)
  }
  return refs.length === 0 ? NONE : { refs, uploads: taking.taken, length }
}

interface Taking extends AttachmentContext {
  readonly taken: Map<number, InlineUpload>
}

function parseOne(
  message: Reading,
  given: unknown,
  index: number,
  context: Taking,
  unknown: UnknownField[],
): AttachmentRef | null {
  const path = `attachments[${index}]`
  if (!isObject(given)) return refuseInvalid(message, path, 'must be an object')
  const reading = startReading(given, `${path}.`)
  const attachment = readFields(reading, index, context)
  if (attachment === null || reading.refusal !== null) {
    message.refusal ??= reading.refusal
    return null
  }
  findUnknown(given, ATTACHMENT_FIELDS, reading.path, unknown)
  return attachment
}

function readFields(reading: Reading, index: number, context: Taking): AttachmentRef | null {
  const filename = lineField(reading, 'filename', MAX_FILENAME) ?? refuseMissing(reading, 'filename')
  const location = reading.source.storage_path
  if (location === undefined || location === null || location === '') return refuseMissing(reading, 'storage_path')
  if (typeof location !== 'string') return refuseInvalid(reading, 'storage_path', 'must be a string')
  const upload = context.uploads?.get(location)
  const fetchMode = readFetchMode(reading, upload?.isPrefixed === true ? PREFIX : location, context)
  const mimeType = readMimeType(reading)
  const contentMd5 = readMd5(reading)
  const contentId = readContentId(reading)
  const auth = readAuth(reading)
  if (filename === null || fetchMode === null) return null
  const marked = stripMd5Marker(filename)
  const md5 = contentMd5 ?? marked.md5 ?? undefined
  if (upload !== undefined) {
    if (fetchMode !== 'base64')
      return refuseInvalid(reading, 'storage_path', `is longer than ${MAX_LOCATION} characters`)
    if (md5 !== undefined && md5 !== upload.md5) return refuseOtherMd5(reading, md5, upload.md5)
    context.taken.set(index, upload)
  }
  return {
    // Nothing but a marker is no name; the recipient still needs one.
    filename: marked.filename.trim() || 'attachment',
    fetchMode,
    storagePath:
      upload !== undefined
        ? ''
        : fetchMode === 'base64'
          ? readBase64(reading, location, md5)
          : readLocation(reading, location),
    mimeType: mimeType ?? undefined,
    contentMd5: md5,
    contentId: contentId ?? undefined,
    auth: auth ?? undefined,
  }
}

const MODES: ReadonlyMap<unknown, FetchMode> = new Map<unknown, FetchMode>([
  ['base64', 'base64'],
  ['http_url', 'http_url'],
  ['endpoint', 'endpoint'],
  ['filesystem', 'filesystem'],
  ['volume', 'volume'],
  ['storage', 'volume'],
])

function readFetchMode(reading: Reading, location: string, context: AttachmentContext): FetchMode | null {
  const given = reading.source.fetch_mode
  if (given === undefined || given === null || given === '') return inferFetchMode(location, context)
  const mode = MODES.get(given) ?? null
  if (mode === null) return refuseInvalid(reading, 'fetch_mode', `must be one of ${[...MODES.keys()].join(', ')}`)
  // `base64` is a volume that is always there.
  return mode === 'volume' && location.startsWith('base64:') ? 'base64' : mode
}

function inferFetchMode(location: string, { isVolume }: AttachmentContext): FetchMode {
  if (location.startsWith('base64:')) return 'base64'
  if (/^https?:\/\//i.test(location)) return 'http_url'
  if (location.startsWith('/')) return 'filesystem'
  const colon = location.indexOf(':')
  return colon > 0 && colon <= 64 && isVolume?.(location.slice(0, colon)) === true ? 'volume' : 'endpoint'
}

function readLocation(reading: Reading, location: string): string {
  if (location.length > MAX_LOCATION) {
    refuseInvalid(reading, 'storage_path', `is longer than ${MAX_LOCATION} characters`)
  } else if (isUnsafe(location)) refuseInvalid(reading, 'storage_path', 'must not contain control characters')
  return location
}

/** The content without prefix and line breaks, checked here so that a broken one is told to who can mend it. */
function readBase64(reading: Reading, location: string, md5: string | undefined): string {
  const given = location.startsWith(PREFIX) ? location.slice(PREFIX.length) : location
  // Encoders for mail break lines; Buffer would skip the breaks, and everything else that is not base64 too.
  const text = /\s/.test(given) ? given.replace(/\s+/g, '') : given
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const digits = padding === 0 ? text : text.slice(0, -padding)
  // A search for what does not belong: matching the whole with a repetition costs a stack entry a character.
  const valid = !/[^A-Za-z0-9+/]/.test(digits) && digits.length % 4 !== 1
  const padded = padding === 0 || (digits.length + padding) % 4 === 0
  if (!valid || !padded) refuseInvalid(reading, 'storage_path', 'not valid base64')
  else if (md5 !== undefined) {
    const found = createHash('md5').update(Buffer.from(text, 'base64')).digest('hex')
    if (found !== md5) refuseOtherMd5(reading, md5, found)
  }
  return text
}

/** The MD5 says which content is meant: another one is not sent in its name. */
function refuseOtherMd5(reading: Reading, expected: string, found: string): null {
  return refuseInvalid(reading, 'content_md5', `is ${expected}, and that of the content is ${found}`)
}

const TOKEN = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,127}"
/** RFC 2045 §5.1, parameters unread. */
const MIME_TYPE = new RegExp(`^${TOKEN}/${TOKEN}(?:\\s*;.*)?$`)

function readMimeType(reading: Reading): string | null {
  const value = lineField(reading, 'mime_type', 255)
  if (value === null || MIME_TYPE.test(value)) return value
  return refuseInvalid(reading, 'mime_type', 'must be like type/subtype')
}

function readMd5(reading: Reading): string | null {
  const value = lineField(reading, 'content_md5', 255)
  if (value === null || /^[0-9a-f]{32}$/i.test(value)) return value?.toLowerCase() ?? null
  return refuseInvalid(reading, 'content_md5', 'must be 32 hex digits')
}

/** The id alone: html says `cid:id`, the header `<id>`. */
function readContentId(reading: Reading): string | null {
  const value = lineField(reading, 'content_id', 255)
  if (value === null) return null
  const bare = value.replace(/^<(.*)>$/, '$1')
  return /^[!-;=?-~]+$/.test(bare) ? bare : refuseInvalid(reading, 'content_id', 'must be one content id')
}

/** Credentials for the attachment's source; never echoed. `none` in so many words keeps the tenant's own from it. */
function readAuth(reading: Reading): Readonly<Record<string, string>> | null {
  const given = reading.source.auth
  if (given === undefined || given === null) return null
  if (!isObject(given)) return refuseInvalid(reading, 'auth', 'must be an object')
  const read = readHttpAuth(given)
  if (!read.ok) return refuseInvalid(reading, `auth.${read.field}`, read.problem)
  return read.auth.method === 'none' && given.method !== 'none' ? null : read.auth
}
