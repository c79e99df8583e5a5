/**
 * The building blocks of every route's schema: the same schema validates, types and documents. Numeric strings and the
 * old clients' booleans ("yes", 1) are brought to their type before validation, see validate.ts.
 */
import type { Static, TNumberOptions, TSchema, TStringOptions } from 'typebox'
import { Type } from './type.js'

/** A text with a pattern, and what is said when it does not match: a regular expression tells a person nothing. */
export const Matching = (pattern: string, refusal: string, options: TStringOptions = {}) =>
  Type.String({ ...options, pattern, [REFUSAL]: refusal })
/** The keyword under which a schema keeps those words for validate.ts. */
export const REFUSAL = 'x-refusal'

/** Ids of tenants, accounts and volumes. `.` and `..` are no ids: in a URL's path they are swallowed (RFC 3986 §5.2.4). */
export const NewId = Matching('^(?!\\.{1,2}$)[A-Za-z0-9_.-]{1,64}$', 'Input should be 1 to 64 of A-Z a-z 0-9 _ . -', {
  description: '1 to 64 of A-Z a-z 0-9 _ . -, but not . or ..',
})
/** An id that is only looked up: what cannot exist is a 404 and not a wrong field. */
export const AnyId = Type.String({ maxLength: 255 })

/** One line of text, as in messages: no control characters. */
export const Line = (maxLength = 1000) =>
  Matching('^[^\\u0000-\\u001f\\u007f-\\u009f]*$', 'must not contain control characters', { maxLength })
export const Flag = Type.Boolean()
/** Bounded always: what is beyond a bigint would be an error of PostgreSQL, and beyond 2^53 another number. */
export const Int = (
  minimum = Number.MIN_SAFE_INTEGER,
  maximum = Number.MAX_SAFE_INTEGER,
  options: TNumberOptions = {},
) => Type.Integer({ ...options, minimum, maximum })
/** Unix seconds. */
export const UnixTime = Int(0, 253_402_300_799, { description: 'Unix seconds' })
/** Any JSON object, kept as given. */
export const AnyObject = Type.Record(Type.String(), Type.Unknown())
export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
export const Given = <T extends TSchema>(schema: T) => Type.Optional(Nullable(schema))

export const TenantQuery = Type.Object({ tenant_id: Type.Optional(AnyId) })
/** `tenant_id` and `batch_code` may stand in the query or in the body. */
export const TenantBody = Type.Object({ tenant_id: Given(AnyId) })

export const Ok = Type.Object({ ok: Type.Literal(true) })
/** An answer that says more than its schema names. */
export const OkWith = <T extends Record<string, TSchema>>(properties: T) =>
  Type.Object({ ok: Type.Literal(true), ...properties })

export const Failure = Type.Object(
  {
    ok: Type.Literal(false),
    error: Type.String({ description: 'A sentence for a person' }),
    code: Type.String({ description: 'Stable, for programs; listed in docs/errors.md' }),
    detail: Type.Unknown({ description: 'As the predecessor had it: a text, or the list of wrong fields' }),
    details: Type.Optional(Type.Unknown()),
  },
  { title: 'Failure' },
)
export type FailureBody = Static<typeof Failure>
