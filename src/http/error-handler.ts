/**
 * Every failure becomes `{ok: false, error, code, detail, details?}` here, and codes become statuses only here.
 * What was not expected is logged once and reaches the client as `internal_error`, without its message.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { DatabaseFull, DatabaseUnavailable } from '../db/db.js'
import { AppError, type ErrorCode } from '../lib/errors.js'
import { isWaiting } from './continue.js'
import type { HttpDeps } from './deps.js'
import type { FailureBody } from './schemas.js'

const STATUS: Record<ErrorCode, number> = {
  bad_request: 400,
  command_failed: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  gone: 410,
  body_too_large: 413,
  unsupported_media_type: 415,
  invalid_json: 422,
  validation_failed: 422,
  too_many_requests: 429,
  quota_exceeded: 429,
  internal_error: 500,
  draining: 503,
  disk_full: 503,
  file_unavailable: 503,
  database_unavailable: 503,
}

/** Fastify's own refusals, by status: what it says of them may name internals, so the words are ours. */
const BY_STATUS: Record<number, readonly [ErrorCode, string]> = {
  404: ['not_found', 'Not Found'],
  405: ['method_not_allowed', 'Method Not Allowed'],
  413: ['body_too_large', 'The body is too large'],
  415: ['unsupported_media_type', 'Unsupported content type'],
}

const DATABASE_LOG_EVERY_MS = 5000

export function failureBody(error: AppError): FailureBody {
  const { detail, details } = error.extra
  const body: FailureBody = { ok: false, error: error.message, code: error.code, detail: detail ?? error.message }
  if (details !== undefined) body.details = details
  return body
}

export function createErrorHandler({ log, clock }: Pick<HttpDeps, 'log' | 'clock'>) {
  let databaseLoggedAt = Number.NEGATIVE_INFINITY

  const asAppError = (error: unknown, request: FastifyRequest): AppError => {
    if (error instanceof AppError) return error
    if (error instanceof DatabaseUnavailable) {
      // One line for an outage, not one for each of thousands of requests.
      if (clock.monotonic() - databaseLoggedAt > DATABASE_LOG_EVERY_MS) {
        databaseLoggedAt = clock.monotonic()
        log.error(`The database cannot be used: ${error.message}`)
      }
      if (error instanceof DatabaseFull) {
        return new AppError('disk_full', "The database's disk is full", { retryAfterSeconds: 30 })
      }
      return new AppError('database_unavailable', 'The database cannot be used just now', { retryAfterSeconds: 5 })
    }
    const { statusCode = 500 } = error as Partial<FastifyError>
    if (statusCode >= 400 && statusCode < 500) {
      return new AppError(...(BY_STATUS[statusCode] ?? (['bad_request', 'The request cannot be read'] as const)))
    }
    const { method, routeOptions } = request
    const told = error instanceof Error ? (error.stack ?? error.message) : String(error)
    log.error(`${method} ${routeOptions?.url ?? '?'} failed: ${told}`, { method })
    return new AppError('internal_error', 'Internal Server Error')
  }

  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const known = asAppError(error, request)
    const status = STATUS[known.code]
    // Fastify closes after a body it did not read to its end; a reset would then take the answer with it.
    // Node drains what still comes, bounded by the request timeout.
    if (isWaiting(request.raw)) reply.header('connection', 'close')
    else reply.removeHeader('connection')
    if (known.extra.retryAfterSeconds !== undefined)
      reply.header('retry-after', String(Math.ceil(known.extra.retryAfterSeconds)))
    if (status === 401) reply.header('www-authenticate', 'Bearer')
    reply.code(status).type('application/json; charset=utf-8').send(failureBody(known))
  }
}
