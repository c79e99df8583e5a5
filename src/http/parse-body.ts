/**
 * Reads and parses request bodies: any content type but multipart, JSON whatever it is called, empty is `{}`.
 * Up to 1 MB it is parsed here, above that in a thread, whose result comes back in chunks: a route that takes many
 * messages reads them with `messagesOf(request)`, at most 500 at a time, and lets the loop breathe between.
 */

import type { Readable } from 'node:stream'
import { deserialize } from 'node:v8'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { AppError } from '../lib/errors.js'
import { shareOfTurn } from '../lib/turn-share.js'
import type { InlineUpload } from '../messages/message.js'
import { createBodyRoom } from './body-room.js'
import { askForBody } from './continue.js'
import { InvalidJson, parseJson } from './parse-json.js'
import { createParsePool, type ParsedBody } from './parse-pool.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route reads `messages` by `messagesOf`, and may be as large as the settings allow. */
    manyMessages?: boolean
  }
  interface FastifyRequest {
    largeBody: ParsedBody | null
  }
}

const INLINE_BYTES = 1024 * 1024
/** What is longer takes its share of a turn of the event loop: 100 messages of 2 KB are some 2.5 ms to parse and to check. */
const SMALL_BYTES = 16 * 1024
/** No other command is ever that long, and what it holds is one piece of work for the event loop. */
const COMMAND_BYTES = 4 * 1024 * 1024
const CHUNK_MESSAGES = 500
/** Of a body, so much is read in a turn of the event loop. Left alone libuv takes up to 2 MB of one socket, some 20 ms. */
const PIECE_BYTES = 256 * 1024
/** Large bodies in memory at once; each takes about twice its length while it is read. */
const ROOM_BYTES = 100 * 1024 * 1024

/**
 * The `messages` of the body in order: themselves where they are few, else at most 500 at a time, of which nothing is left to
 * release when the caller stops early. None when `messages` is no array; the route's schema has refused that by then.
 */
export function messagesOf(request: FastifyRequest): readonly unknown[] | AsyncIterable<readonly unknown[]> {
  if (request.largeBody !== null) return largeChunks(request.largeBody)
  const { messages } = request.body as { messages?: unknown }
  if (!Array.isArray(messages)) return []
  return messages.length <= CHUNK_MESSAGES ? messages : chunksOf(messages)
}

async function* largeChunks({ chunks }: ParsedBody): AsyncGenerator<readonly unknown[]> {
  for (const chunk of chunks) {
    await shareOfTurn()
    yield deserialize(chunk) as unknown[]
  }
}

async function* chunksOf(messages: readonly unknown[]): AsyncGenerator<readonly unknown[]> {
  for (let start = 0; start < messages.length; start += CHUNK_MESSAGES) {
    if (start > 0) await shareOfTurn()
    yield messages.slice(start, start + CHUNK_MESSAGES)
  }
}

const NONE: ReadonlyMap<string, InlineUpload> = new Map()

/** Long contents of attachments that were taken out of the body, by what stands in their place. */
export function takenUploads(request: FastifyRequest): ReadonlyMap<string, InlineUpload> {
  return request.largeBody?.uploads ?? NONE
}

/** How many `messages` the body has. */
export function messageCount(request: FastifyRequest): number {
  if (request.largeBody !== null) return request.largeBody.count
  const messages = (request.body as { messages?: unknown }).messages
  return Array.isArray(messages) ? messages.length : 0
}

export function useBodyParser(app: FastifyInstance, { maxBodyBytes }: { readonly maxBodyBytes: number }): void {
  const pool = createParsePool()
  const room = createBodyRoom(Math.max(ROOM_BYTES, maxBodyBytes))
  const taken = new WeakMap<FastifyRequest, () => void>()
  app.decorateRequest('largeBody', null)
  app.addHook('onClose', () => pool.close())

  app.addHook('onRequest', ({ raw }, _reply, done) => {
    const { 'content-type': type, 'content-encoding': encoding = 'identity' } = raw.headers
    if (encoding.trim().toLowerCase() !== 'identity') {
      throw new AppError('unsupported_media_type', 'Content-Encoding is not supported: send the body as it is')
    }
    if (type === undefined) return done()
    if (/^\s*multipart\//i.test(type)) {
      throw new AppError('unsupported_media_type', 'Multipart bodies are not read: send JSON')
    }
    // Fastify refuses a content type that is no media type; old clients send all sorts.
    raw.headers['content-type'] = 'application/json'
    done()
  })

  app.removeAllContentTypeParsers()
  // Under the one name as well: Fastify finds that, where it would read the type of each request anew for '*' (1 µs).
  app.addContentTypeParser(['application/json', '*'], async (request: FastifyRequest, payload: Readable) => {
    const { manyMessages = false } = request.routeOptions.config
    const limit = manyMessages ? maxBodyBytes : Math.min(maxBodyBytes, COMMAND_BYTES)
    // Taken when a body turns out to be large, whatever its sender announced.
    const takeRoom = async (isWanted: () => boolean) => {
      const { caller } = request
      const who = caller.kind === 'admin' ? '' : caller.tenantId
      const giveBack = await room.take(who, Number(request.headers['content-length'] ?? limit))
      if (isWanted()) taken.set(request, giveBack)
      else giveBack()
    }
    try {
      const { parts, size } = await readBody(request, payload, limit, takeRoom)
      if (size <= INLINE_BYTES) {
        if (size > SMALL_BYTES) await shareOfTurn()
        return parseJson(inOne(parts))
      }
      const parsed = await pool.parse(parts, manyMessages)
      request.largeBody = manyMessages ? parsed : null
      return parsed.value
    } catch (error) {
      if (error instanceof InvalidJson) throw invalidJson(error)
      throw error
    }
  })
  // What a large body held is free once its messages are stored.
  app.addHook('onResponse', (request, _reply, done) => {
    taken.get(request)?.()
    done()
  })
  app.addHook('onRequestAbort', async request => taken.get(request)?.())

  app.addHook('preValidation', (request, _reply, done) => {
    // Commands read fields of an object; a request without any body is one with an empty object.
    if (request.body === undefined && !/^(GET|HEAD)$/.test(request.method)) request.body = {}
    done()
  })
}

/** Where the parts of a body are put together: memory taken anew each time is 1 µs more for each 2 KB. */
const together = Buffer.allocUnsafeSlow(INLINE_BYTES)

/** Good until the next call. */
function inOne(parts: readonly Buffer[]): Buffer {
  if (parts.length === 1) return parts[0]!
  let size = 0
  for (const part of parts) {
    together.set(part, size)
    size += part.length
  }
  return together.subarray(0, size)
}

interface Body {
  /** Of more than INLINE_BYTES: blocks that own their memory. */
  readonly parts: readonly Buffer[]
  readonly size: number
}

function readBody(
  request: FastifyRequest,
  payload: Readable,
  limit: number,
  takeRoom: (isWanted: () => boolean) => Promise<void>,
): Promise<Body> {
  const declared = Number(request.headers['content-length'] ?? 0)
  if (declared > limit) return Promise.reject(tooLarge(limit))
  askForBody(request.raw)
  return new Promise((resolve, reject) => {
    let size = 0
    const small: Buffer[] = []
    let blocks: BlockList | null = null
    let sincePause = 0
    let isWanted = true
    const stop = (error: Error) => {
      isWanted = false
      payload.removeAllListeners('data').removeAllListeners('end')
      payload.resume()
      reject(error)
    }
    const pauseUntil = (turn: Promise<void>) => {
      sincePause = 0
      payload.pause()
      turn.then(() => payload.resume(), stop)
    }
    payload.on('data', (data: Buffer) => {
      size += data.length
      if (size > limit) return stop(tooLarge(limit))
      sincePause += data.length
      if (blocks !== null) blocks.add(data)
      else small.push(data)
      if (blocks === null && size > INLINE_BYTES) {
        blocks = createBlockList(declared)
        for (const each of small.splice(0)) blocks.add(each)
        pauseUntil(takeRoom(() => isWanted))
      } else if (sincePause >= PIECE_BYTES) pauseUntil(shareOfTurn())
    })
    payload.on('end', () => resolve({ parts: blocks?.finish() ?? small, size }))
    const cut = () => {
      isWanted = false
      reject(new AppError('bad_request', 'The request ended before its body was complete'))
    }
    payload.on('aborted', cut)
    payload.on('error', cut)
  })
}

interface BlockList {
  add(data: Uint8Array): void
  finish(): Buffer[]
}

/**
 * Copies in small steps as the data comes: one copy of 50 MB at the end would hold the event loop for 10 ms. One block of
 * the announced length (0: unknown), which the thread need not copy together; memory is only taken as it is filled.
 */
function createBlockList(announced: number): BlockList {
  const blockBytes = Math.max(announced, INLINE_BYTES)
  const blocks: Buffer[] = []
  let used = blockBytes
  return {
    add(data) {
      let at = 0
      while (at < data.length) {
        if (used === blockBytes) {
          blocks.push(Buffer.allocUnsafeSlow(blockBytes))
          used = 0
        }
        const part = data.subarray(at, at + blockBytes - used)
        blocks.at(-1)!.set(part, used)
        used += part.length
        at += part.length
      }
    },
    finish() {
      blocks.push(blocks.pop()!.subarray(0, used))
      return blocks
    },
  }
}

function tooLarge(limit: number): AppError {
  const mb = limit / (1024 * 1024)
  return new AppError(
    'body_too_large',
    `The body is larger than ${Number.isInteger(mb) ? `${mb} MB` : `${limit} bytes`}`,
    {
      details: { max_bytes: limit },
    },
  )
}

function invalidJson({ reason, position }: InvalidJson): AppError {
  return new AppError('invalid_json', reason, {
    detail: [
      { type: 'json_invalid', loc: ['body', position], msg: 'JSON decode error', input: {}, ctx: { error: reason } },
    ],
  })
}
