/**
 * The validator behind every route's schema. Before it judges, it brings what old clients send to its type: numeric
 * strings to numbers, "yes"/1/"on" to booleans. Text that no database can store is refused wherever it stands. What is
 * wrong is told as the predecessor told it: a list of `{type, loc, msg, input, ctx?}`, with secrets left out.
 */

import type { FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { AppError } from '../lib/errors.js'
import { hasMaskedQuery, isSecretField, MASK, maskQuery } from './mask.js'
import { REFUSAL } from './schemas.js'

export interface FieldProblem {
  readonly type: string
  readonly loc: readonly (string | number)[]
  readonly msg: string
  readonly input?: unknown
  readonly ctx?: Readonly<Record<string, unknown>>
}

const PART: Record<string, string> = { body: 'body', querystring: 'query', params: 'path', headers: 'header' }

export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const compiled = Compile(schema)
  const part = PART[httpPart ?? 'body'] ?? 'body'
  return (given: unknown): { value: unknown } | { error: Error } => {
    const unstorable: Unstorable[] = []
    const value = coerce(schema as JsonSchema, given, '', unstorable)
    const [first] = unstorable
    if (first !== undefined) {
      return { error: validationFailed([{ type: 'value_error', loc: locate(part, first.path), msg: first.msg }]) }
    }
    if (compiled.Check(value)) return { value }
    const errors = compiled.Errors(value) as readonly ValidationProblem[]
    return { error: validationFailed(toProblems(errors, value, part, schema)) }
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

interface JsonSchema {
  readonly type?: string
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly items?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
}

const NUMERIC = /^\s*[+-]?\d{1,16}(\.\d*)?\s*$/
const BOOLEANS = new Map<unknown, boolean>([
  ...[true, 1, '1', 'true', 't', 'yes', 'y', 'on'].map(value => [value, true] as const),
  ...[false, 0, '0', 'false', 'f', 'no', 'n', 'off'].map(value => [value, false] as const),
])

/** Text that PostgreSQL cannot store and nobody means. */
interface Unstorable {
  readonly path: string
  readonly msg: string
}

const LONE_SURROGATE = /\p{Cs}/u

function coerce(schema: JsonSchema, value: unknown, path: string, unstorable: Unstorable[]): unknown {
  switch (typeof value) {
    case 'string':
      if (value.includes('\0')) unstorable.push({ path, msg: 'Value error, the NUL character is not allowed' })
      else if (LONE_SURROGATE.test(value)) {
        unstorable.push({ path, msg: 'Value error, half of a surrogate pair is not allowed' })
      }
      return coerceScalar(schema, value)
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
    if (items !== undefined) {
      for (let i = 0; i < value.length; i += 1) value[i] = coerce(items, value[i], `${path}/${i}`, unstorable)
    }
    return value
  }
  const fields = value as Record<string, unknown>
  if (structured.properties === undefined) return value
  for (const [name, property] of Object.entries(structured.properties)) {
    if (Object.hasOwn(fields, name)) fields[name] = coerce(property, fields[name], `${path}/${name}`, unstorable)
  }
  return value
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

interface ValidationProblem {
  readonly keyword: string
  readonly schemaPath: string
  readonly instancePath: string
  readonly params: Readonly<Record<string, unknown>>
  readonly message: string
}

function toProblems(
  errors: readonly ValidationProblem[],
  root: unknown,
  part: string,
  schema: TSchema,
): FieldProblem[] {
  const byPath = new Map<string, ValidationProblem[]>()
  for (const error of errors) {
    const same = byPath.get(error.instancePath)
    if (same === undefined) byPath.set(error.instancePath, [error])
    else same.push(error)
  }
  const problems: FieldProblem[] = []
  for (const [path, all] of byPath) {
    const loc = locate(part, path)
    const input = valueAt(root, path)
    // A nullable field fails as itself, not as null, and not a second time as a union.
    const real = all.filter(each => !SECONDARY.has(each.keyword) && each.params.type !== 'null')
    const literal = real.find(each => each.keyword === 'const')
    const allowed = literal === undefined ? [] : literalsBeside(literal, schema)
    for (const error of real) {
      if (error.keyword === 'const') continue
      if (error.keyword === 'required') {
        for (const name of error.params.requiredProperties as string[]) {
          problems.push({ type: 'missing', loc: [...loc, name], msg: 'Field required', ...shown(name, undefined) })
        }
        continue
      }
      if (error.keyword === 'additionalProperties') {
        for (const name of error.params.additionalProperties as string[]) {
          problems.push({ type: 'extra_forbidden', loc: [...loc, name], msg: 'Extra inputs are not permitted' })
        }
        continue
      }
      if (allowed.length > 0 && error.keyword === 'type') continue
      problems.push({ loc, ...say(error, input, schema), ...shown(loc.at(-1), input) })
    }
    if (allowed.length > 0) {
      const expected = allowed.map(value => (typeof value === 'string' ? `'${value}'` : String(value)))
      const listed = expected.length > 1 ? `${expected.slice(0, -1).join(', ')} or ${expected.at(-1)}` : expected[0]
      problems.push({
        type: 'literal_error',
        loc,
        msg: `Input should be ${listed}`,
        ...shown(loc.at(-1), input),
        ctx: { expected: listed },
      })
    }
  }
  return problems.length > 0 ? problems : [{ type: 'value_error', loc: [part], msg: 'Value error' }]
}

/** What a union and a forbidden field say of themselves beside the error that matters. */
const SECONDARY: ReadonlySet<string> = new Set(['anyOf', 'boolean'])

function say(
  { keyword, schemaPath, params, message }: ValidationProblem,
  input: unknown,
  schema: TSchema,
): Pick<FieldProblem, 'type' | 'msg' | 'ctx'> {
  const text = typeof input === 'string'
  switch (keyword) {
    case 'type':
      return sayType(String(params.type), input)
    case 'minLength':
      return {
        type: 'string_too_short',
        msg: `String should have at least ${params.limit} characters`,
        ctx: { min_length: params.limit },
      }
    case 'maxLength':
      return {
        type: 'string_too_long',
        msg: `String should have at most ${params.limit} characters`,
        ctx: { max_length: params.limit },
      }
    case 'pattern':
      return {
        type: 'string_pattern_mismatch',
        msg: refusalAt(schema, schemaPath) ?? `String should match pattern '${params.pattern}'`,
        ctx: { pattern: String(params.pattern) },
      }
    case 'minimum':
      return {
        type: 'greater_than_equal',
        msg: `Input should be greater than or equal to ${params.limit}`,
        ctx: { ge: params.limit },
      }
    case 'exclusiveMinimum':
      return { type: 'greater_than', msg: `Input should be greater than ${params.limit}`, ctx: { gt: params.limit } }
    case 'maximum':
      return {
        type: 'less_than_equal',
        msg: `Input should be less than or equal to ${params.limit}`,
        ctx: { le: params.limit },
      }
    case 'maxItems':
      return {
        type: 'too_long',
        msg: `List should have at most ${params.limit} items`,
        ctx: { max_length: params.limit },
      }
    default:
      return { type: text ? 'string_type' : 'value_error', msg: `Value ${message}` }
  }
}

/** All values of the union that the literal is in: the errors themselves stop at the eighth. */
function literalsBeside({ schemaPath, params }: ValidationProblem, schema: TSchema): unknown[] {
  const union = valueAt(schema, schemaPath.replace(/^#/, '').replace(/\/\d+$/, ''))
  return Array.isArray(union) ? union.map(each => (each as JsonSchema).const) : [params.allowedValue]
}

/** The words that the schema at this JSON pointer has for itself, see Matching. */
function refusalAt(schema: TSchema, schemaPath: string): string | null {
  const words = valueAt(valueAt(schema, schemaPath.replace(/^#/, '')), `/${REFUSAL}`)
  return typeof words === 'string' ? words : null
}

function sayType(type: string, input: unknown): Pick<FieldProblem, 'type' | 'msg'> {
  const text = typeof input === 'string'
  switch (type) {
    case 'integer':
      if (text)
        return { type: 'int_parsing', msg: 'Input should be a valid integer, unable to parse string as an integer' }
      if (typeof input === 'number')
        return { type: 'int_from_float', msg: 'Input should be a valid integer, got a number with a fractional part' }
      return { type: 'int_type', msg: 'Input should be a valid integer' }
    case 'number':
      return { type: text ? 'float_parsing' : 'float_type', msg: 'Input should be a valid number' }
    case 'boolean':
      return text
        ? { type: 'bool_parsing', msg: 'Input should be a valid boolean, unable to interpret input' }
        : { type: 'bool_type', msg: 'Input should be a valid boolean' }
    case 'array':
      return { type: 'list_type', msg: 'Input should be a valid list' }
    case 'object':
      return { type: 'dict_type', msg: 'Input should be a valid dictionary' }
    default:
      return { type: 'string_type', msg: 'Input should be a valid string' }
  }
}

/** The input as far as it may be shown: scalars, short, no secret. */
function shown(name: string | number | undefined, input: unknown): { input?: unknown } {
  if (name !== undefined && isSecretField(String(name))) return { input: '***' }
  if (typeof input === 'string') return { input: input.slice(0, 100) }
  if (input === undefined || (typeof input === 'object' && input !== null)) return {}
  return { input }
}

function locate(part: string, path: string): (string | number)[] {
  return [part, ...segments(path).map(each => (/^\d+$/.test(each) ? Number(each) : each))]
}

function segments(path: string): string[] {
  return path
    .split('/')
    .slice(1)
    .map(each => each.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function valueAt(root: unknown, path: string): unknown {
  let value = root
  for (const segment of segments(path)) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, segment)) return undefined
    value = (value as Record<string, unknown>)[segment]
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
