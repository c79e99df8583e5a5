/** Expected refusals. Only HTTP turns a code into a status; the codes are listed in docs/errors.md. */

export type ErrorCode =
  | 'bad_request'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'gone'
  | 'method_not_allowed'
  | 'command_failed'
  | 'body_too_large'
  | 'unsupported_media_type'
  | 'invalid_json'
  | 'validation_failed'
  | 'too_many_requests'
  | 'quota_exceeded'
  | 'draining'
  | 'disk_full'
  | 'file_unavailable'
  | 'database_unavailable'
  | 'internal_error'

/** A refusal the caller can act on. `message` is a sentence for a person and never holds a secret. */
export class AppError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    /** `detail` stands in for the predecessor's `detail`; `details` is structured help for programs. */
    readonly extra: { detail?: unknown; details?: unknown; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause })
    this.name = 'AppError'
  }
}

/** A start-up configuration that cannot work: the process says `message` in one line and exits with 1. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}
