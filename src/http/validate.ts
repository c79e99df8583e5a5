/**
 * The validator behind every route's schema. Before it judges, it brings what old clients send to its type: numeric
 * strings to numbers, "yes"/1/"on" to booleans. Text that no database can store is refused wherever it stands. What is
 * wrong is told as the predecessor told it: a list of `{type, loc, msg, input, ctx?}`, with secrets left out.
 */

import type { FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { AppError } from '../lib/errors.js'
import { compileCheck, type FieldProblem, type JsonSchema } from './check-schema.js'
import { hasMaskedQuery, MASK, maskQuery } from './mask.js'

const PART: Record<string, string> = { body: 'body', querystring: 'query', params: 'path', headers: 'header' }

export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema: given, httpPart }) => {
  const schema = given as JsonSchema
  const check = compileCheck(schema)
  const part = PART[httpPart ?? 'body'] ?? 'body'
  return (sent: unknown): { value: unknown } | { error: Error } => {
    const loc = [part]
    const unstorable: FieldProblem[] = []
    const value = coerce(schema, sent, loc, unstorable)
    if (unstorable[0] !== undefined) return { error: validationFailed([unstorable[0]]) }
    const problems: FieldProblem[] = []
    check(value, { loc, problems })
    return problems.length === 0 ? { value } : { error: validationFailed(problems) }
  }
}

/** The refusal for wrong fields, also for what a schema cannot say. */
export function validationFailed(problems: readonly FieldProblem[]): AppError {
  const first = problems[0]
  const where = first?.loc.slice(1).join('.') || first?.loc[0]
  return new AppError('validation_failed', first === undefined ? 'A field is wrong' : `${where}: ${first.msg}`, {
    detail: problems,
  })
}

/** One wrong field of the body that a handler found; `field` may be a path with dots. */
export function wrongField(field: string, msg: string, type = 'value_error'): AppError {
  return validationFailed([{ type, loc: ['body', ...field.split('.')], msg }])
}

const NUMERIC = /^\s*[+-]?\d{1,16}(\.\d*)?\s*$/
const BOOLEANS = new Map<unknown, boolean>([
  ...[true, 1, '1', 'true', 't', 'yes', 'y', 'on'].map(value => [value, true] as const),
  ...[false, 0, '0', 'false', 'f', 'no', 'n', 'off'].map(value => [value, false] as const),
])

const LONE_SURROGATE = /\p{Cs}/u

/** `unstorable`: text is added that PostgreSQL cannot store and nobody means. */
function coerce(schema: JsonSchema, value: unknown, loc: (string | number)[], unstorable: FieldProblem[]): unknown {
  switch (typeof value) {
    case 'string': {
      const what = value.includes('\0')
        ? 'the NUL character'
        : LONE_SURROGATE.test(value)
          ? 'half of a surrogate pair'
          : null
      if (what !== null)
        unstorable.push({ type: 'value_error', loc: [...loc], msg: `Value error, ${what} is not allowed` })
      return coerceScalar(schema, value)
    }
    case 'number':
    case 'boolean':
      return coerceScalar(schema, value)
    case 'object':
      break
    default:
      return value
  }
  if (value === null) return value
  const structured = schema.anyOf?.find(each => each.properties !== undefined || each.items !== undefined) ?? schema
  if (Array.isArray(value)) {
    const { items } = structured
    if (items !== undefined) for (const at of value.keys()) coerceBelow(items, value, at, loc, unstorable)
    return value
  }
  if (structured.properties === undefined) return value
  for (const [name, property] of Object.entries(structured.properties)) {
    if (Object.hasOwn(value, name)) coerceBelow(property, value as Record<string, unknown>, name, loc, unstorable)
  }
  return value
}

function coerceBelow<K extends string | number>(
  schema: JsonSchema,
  holder: Record<K, unknown>,
  name: K,
  loc: (string | number)[],
  unstorable: FieldProblem[],
): void {
  loc.push(name)
  holder[name] = coerce(schema, holder[name], loc, unstorable)
  loc.pop()
}

function coerceScalar(schema: JsonSchema, value: string | number | boolean): unknown {
  const types = schema.anyOf?.map(each => each.type) ?? [schema.type]
  if (types.includes('boolean')) {
    const known = BOOLEANS.get(typeof value === 'string' ? value.toLowerCase() : value)
    if (known !== undefined) return known
  }
  // A string that may stay one does.
  if (typeof value === 'string' && !types.includes('string') && NUMERIC.test(value)) {
    if (types.includes('integer') || types.includes('number')) return Number(value)
  }
  return value
}

/**
 * A URL or path that answers show without the values of its query. undefined: what is shown of the stored one came back,
 * which stays. Throws 422 where `***` stands for nothing.
 */
export function unlessMasked<T extends string | null | undefined>(
  field: string,
  given: T,
  stored: string | null,
): T | undefined {
  if (!hasMaskedQuery(given)) return given
  if (stored !== null && given === maskQuery(stored)) return undefined
  throw wrongField(field, `${MASK} stands for a stored value, and there is none`)
}
