/**
 * The validator behind every route's schema. Before it judges, it brings what old clients send to its type: numeric
 * strings to numbers, "yes"/1/"on" to booleans. What is wrong is told as the predecessor told it: a list of
 * `{type, loc, msg, input, ctx?}`, with secrets left out.
 */
import type { TSchema } from '@fastify/type-provider-typebox'
import type { FastifySchemaCompiler } from 'fastify'
import { Compile } from 'typebox/compile'
import { AppError } from '../lib/errors.js'
import { isSecretField } from './mask.js'

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
    const nul = { path: null as string | null }
    const value = coerce(schema as JsonSchema, given, '', nul)
    if (nul.path === null && compiled.Check(value)) return { value }
    const problems =
      nul.path === null
        ? toProblems(compiled.Errors(value) as readonly ValidationProblem[], value, part)
        : [{ type: 'value_error', loc: locate(part, nul.path), msg: 'Value error, the NUL character is not allowed' }]
    return { error: validationFailed(problems) }
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

/** One wrong field of the body that a handler found. */
export function wrongField(field: string, msg: string, type = 'value_error'): AppError {
  return validationFailed([{ type, loc: ['body', field], msg }])
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

function coerce(schema: JsonSchema, value: unknown, path: string, nul: { path: string | null }): unknown {
  switch (typeof value) {
    case 'string':
      // PostgreSQL cannot store it, and nobody means it.
      if (value.includes('\0')) nul.path ??= path
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
      for (let i = 0; i < value.length; i += 1) value[i] = coerce(items, value[i], `${path}/${i}`, nul)
    }
    return value
  }
  const fields = value as Record<string, unknown>
  for (const [name, property] of Object.entries(structured.properties ?? {})) {
    if (Object.hasOwn(fields, name)) fields[name] = coerce(property, fields[name], `${path}/${name}`, nul)
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
  readonly instancePath: string
  readonly params: Readonly<Record<string, unknown>>
  readonly message: string
}

function toProblems(errors: readonly ValidationProblem[], root: unknown, part: string): FieldProblem[] {
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
    const real = all.filter(each => each.keyword !== 'anyOf' && each.params.type !== 'null')
    const allowed = real.filter(each => each.keyword === 'const').map(each => each.params.allowedValue)
    for (const error of real) {
      if (error.keyword === 'const') continue
      if (error.keyword === 'required') {
        for (const name of error.params.requiredProperties as string[]) {
          problems.push({ type: 'missing', loc: [...loc, name], msg: 'Field required', ...shown(name, undefined) })
        }
        continue
      }
      if (allowed.length > 0 && error.keyword === 'type') continue
      problems.push({ loc, ...say(error, input), ...shown(loc.at(-1), input) })
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

function say(
  { keyword, params, message }: ValidationProblem,
  input: unknown,
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
        msg: `String should match pattern '${params.pattern}'`,
        ctx: { pattern: String(params.pattern) },
      }
    case 'minimum':
      return {
        type: 'greater_than_equal',
        msg: `Input should be greater than or equal to ${params.limit}`,
        ctx: { ge: params.limit },
      }
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
