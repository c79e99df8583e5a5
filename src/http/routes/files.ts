/** Large files that were put out of their mails, for whoever has the link: the signature in it is the whole permission. */

import { once } from 'node:events'
import { pipeline, type Readable, Transform } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { AttachmentFailure } from '../../attachments/failure.js'
import { savedAs } from '../../attachments/stores/path.js'
import type { StoredFile } from '../../attachments/stores/store.js'
import { discard } from '../../attachments/stores/transfer.js'
import { AppError } from '../../lib/errors.js'
import type { Routes } from '../app.js'
import type { LinkedFile } from '../deps.js'
import { Type } from '../type.js'

/** A link to the store lives as long as it takes to follow it. */
const REDIRECT_MS = 10 * 60_000
const RETRY_AFTER_SECONDS = 60

// What the signature does not fit is 403 whatever it is, so nothing is judged before.
const Path = Type.Object({ id: Type.String(), filename: Type.String() })
const Query = Type.Object({ expires: Type.Optional(Type.Unknown()), signature: Type.Optional(Type.Unknown()) })

export const fileRoutes: Routes = (app, { files, clock, log }) => {
  const found = async (request: FastifyRequest): Promise<{ file: LinkedFile; expires: number }> => {
    const { id, filename } = request.params as { id: string; filename: string }
    const { expires: given, signature } = request.query as { expires?: unknown; signature?: unknown }
    const expires = typeof given === 'string' && /^[1-9]\d{0,11}$/.test(given) ? Number(given) : null
    if (expires === null || typeof signature !== 'string' || !files.isSigned({ id, filename, expires }, signature)) {
      throw new AppError('forbidden', 'This link is not complete, or was changed')
    }
    if (clock.now() >= expires * 1000) throw new AppError('gone', 'This link has expired')
    const file = await files.find(id)
    if (file === null || file.pathName !== filename) throw new AppError('not_found', 'There is no such file')
    return { file, expires }
  }

  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    const { file, expires } = await found(request)
    const over = new AbortController()
    reply.raw.once('close', () => over.abort())
    try {
      const elsewhere = await file.redirect(Math.min(expires * 1000, clock.now() + REDIRECT_MS))
      if (elsewhere !== null) return reply.redirect(elsewhere, 302)
      reply.headers({ 'content-disposition': savedAs(file.filename), 'content-length': file.sizeBytes })
      reply.type(file.mimeType)
      if (request.method === 'HEAD') return reply.send()
      const body = asLong(await file.open(over.signal), file.sizeBytes)
      let isBegun = false
      body.on('error', error => {
        if (!isBegun || over.signal.aborted) return
        log.warning(`A large file broke off on the way from its store: ${error.message}`)
        reply.raw.destroy()
      })
      // An error before the first octet is still an answer.
      await once(body, 'readable')
      if (body.errored !== null) throw body.errored
      isBegun = true
      return reply.send(body)
    } catch (error) {
      reply.removeHeader('content-disposition').removeHeader('content-length')
      if (!(error instanceof AttachmentFailure)) throw error
      log.warning(`A large file cannot be fetched from its store: ${error.message}`)
      throw refusalOf(error)
    }
  }

  const config = { access: 'public' } as const
  const summary = 'A large attachment that was put out of its mail, by the signed link in it'
  const schema = { tags: ['files'], summary, params: Path, querystring: Query, produces: ['application/octet-stream'] }
  app.get('/files/:id/:filename', { config, exposeHeadRoute: false, schema }, answer)
  app.head('/files/:id/:filename', { config, schema: { ...schema, hide: true } }, answer)
}

/**
 * The body, of exactly so many octets or with an error: fewer would keep the client waiting for the rest, and what is over
 * would stand before the next answer of the connection.
 */
function asLong({ sizeBytes, body }: StoredFile, expected: number): Readable {
  if (sizeBytes !== null && sizeBytes !== expected) {
    discard(body)
    throw otherSize(expected)
  }
  let missing = expected
  const measured = new Transform({
    transform(piece: Buffer, _encoding, done) {
      missing -= piece.length
      if (missing < 0) done(otherSize(expected))
      else done(null, piece)
    },
    flush: done => done(missing === 0 ? null : otherSize(expected)),
  })
  // Errors of the one are errors of the other, and come out there.
  return pipeline(body, measured, () => {})
}

/** Passes when the file is put back. */
function otherSize(expected: number): AttachmentFailure {
  return new AttachmentFailure(`it has not the ${expected} octets that were put there`, 'transient')
}

function refusalOf(failure: AttachmentFailure): AppError {
  if (failure.kind === 'permanent') return new AppError('not_found', 'There is no such file', { cause: failure })
  return new AppError('file_unavailable', 'The store of this file does not answer', {
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause: failure,
  })
}
