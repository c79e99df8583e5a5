/**
 * The building blocks of every route's schema: the same schema validates, types and documents. Numeric strings and the
 * old clients' booleans ("yes", 1) are brought to their type before validation, see validate.ts.
 */
import { type Static, type TSchema, Type } from '@fastify/type-provider-typebox'

/** Ids of tenants, accounts and volumes. */
export const ID_PATTERN = '^[A-Za-z0-9_.-]{1,64}$'

export const NewId = Type.String({ pattern: ID_PATTERN, description: '1 to 64 of A-Z a-z 0-9 _ . -' })
/** An id that is only looked up: what cannot exist is a 404 and not a wrong field. */
export const AnyId = Type.String({ maxLength: 255 })

/** One line of text: no control characters. */
export const Line = (maxLength = 1000) => Type.String({ maxLength, pattern: '^[^\\u0000-\\u001f\\u007f]*$' })
export const Flag = Type.Boolean()
export const Int = (minimum?: number, maximum = Number.MAX_SAFE_INTEGER) =>
  Type.Integer({ ...(minimum === undefined ? {} : { minimum }), maximum })
/** Unix seconds. */
export const UnixTime = Type.Integer({ minimum: 0, maximum: 253_402_300_799, description: 'Unix seconds' })
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
