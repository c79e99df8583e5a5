/**
 * A route's schema as a check. What is wrong is told as the predecessor told it: a list of `{type, loc, msg, input, ctx?}`,
 * with secrets left out. Knows what `type.ts` builds; a keyword that it does not know fails the start, for it would stand
 * there in vain.
 */
import { isSecretField, MASK } from './mask.js'
import { REFUSAL } from './schemas.js'

export interface FieldProblem {
  readonly type: string
  readonly loc: readonly (string | number)[]
  readonly msg: string
  readonly input?: unknown
  readonly ctx?: Readonly<Record<string, unknown>>
}

/** JSON Schema, as far as it is checked. */
export interface JsonSchema {
  readonly type?: string
  readonly const?: unknown
  readonly anyOf?: readonly JsonSchema[]
  readonly items?: JsonSchema
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly patternProperties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  /** The words for a `pattern` that does not match, see Matching. */
  readonly [REFUSAL]?: string
}

/** Where the check is, and what it has found. */
export interface Findings {
  readonly loc: (string | number)[]
  readonly problems: FieldProblem[]
}

export type Check = (value: unknown, found: Findings) => void

/** More of them help nobody, and a body may hold a million. */
const MOST_PROBLEMS = 8

const NOT_NULL = 'none_required'

const KEYWORDS: ReadonlySet<string> = new Set([
  ...['type', 'const', 'anyOf', 'items', 'maxItems', 'properties', 'patternProperties', 'required'],
  ...['additionalProperties', 'minLength', 'maxLength', 'pattern', 'minimum', 'maximum', 'exclusiveMinimum', REFUSAL],
  // For people.
  ...['title', 'description', 'default', 'examples'],
])

/** Throws for a keyword that it does not know. */
export function compileCheck(schema: JsonSchema): Check {
  const unknown = Object.keys(schema).find(keyword => !KEYWORDS.has(keyword))
  if (unknown !== undefined) throw new Error(`a schema says ${unknown}, which nothing checks`)
  if (schema.anyOf !== undefined) return union(schema.anyOf)
  if (schema.const !== undefined) return literal([schema.const])
  switch (schema.type) {
    case undefined:
      return () => {}
    case 'object':
      return object(schema)
    case 'array':
      return array(schema)
    case 'string':
      return string(schema)
    case 'integer':
    case 'number':
      return number(schema)
    case 'boolean':
      return (value, found) => {
        if (typeof value !== 'boolean') add(found, value, sayBoolean(value))
      }
    case 'null':
      return (value, found) => {
        if (value !== null) add(found, value, { type: NOT_NULL, msg: 'Input should be None' })
      }
    default:
      throw new Error(`a schema says type ${schema.type}, which nothing checks`)
  }
}

function union(branches: readonly JsonSchema[]): Check {
  const checks = branches.map(compileCheck)
  const literals = branches.filter(each => each.const !== undefined).map(each => each.const)
  const sayLiterals = literals.length === 0 ? null : literal(literals)
  return (value, found) => {
    const all: FieldProblem[] = []
    for (const check of checks) {
      const problems: FieldProblem[] = []
      check(value, { loc: found.loc, problems })
      if (problems.length === 0) return
      all.push(...problems)
    }
    if (sayLiterals !== null) return sayLiterals(value, found)
    // A nullable field fails as itself, not as null.
    const real = all.filter(({ type }) => type !== NOT_NULL)
    found.problems.push(...(real.length > 0 ? real : all).slice(0, MOST_PROBLEMS - found.problems.length))
  }
}

function literal(allowed: readonly unknown[]): Check {
  const words = allowed.map(value => (typeof value === 'string' ? `'${value}'` : String(value)))
  const listed = words.length > 1 ? `${words.slice(0, -1).join(', ')} or ${words.at(-1)}` : words[0]!
  return (value, found) => {
    if (allowed.includes(value)) return
    add(found, value, { type: 'literal_error', msg: `Input should be ${listed}`, ctx: { expected: listed } })
  }
}

function object({ properties = {}, patternProperties, required = [], additionalProperties = true }: JsonSchema): Check {
  const fields = Object.entries(properties).map(([name, schema]) => ({ name, check: compileCheck(schema) }))
  const [rest = null] = Object.values(patternProperties ?? {}).map(compileCheck)
  return (value, found) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return add(found, value, { type: 'dict_type', msg: 'Input should be a valid dictionary' })
    }
    const given = value as Readonly<Record<string, unknown>>
    for (const name of required) {
      if (!Object.hasOwn(given, name)) addAt(found, name, { type: 'missing', msg: 'Field required' })
    }
    for (const { name, check } of fields) if (Object.hasOwn(given, name)) below(found, name, given[name], check)
    if (additionalProperties && rest === null) return
    for (const name in given) {
      if (found.problems.length >= MOST_PROBLEMS) return
      if (Object.hasOwn(properties, name)) continue
      if (rest !== null) below(found, name, given[name], rest)
      else addAt(found, name, { type: 'extra_forbidden', msg: 'Extra inputs are not permitted' })
    }
  }
}

function array({ items = {}, maxItems = Infinity }: JsonSchema): Check {
  const check = compileCheck(items)
  return (value, found) => {
    if (!Array.isArray(value)) return add(found, value, { type: 'list_type', msg: 'Input should be a valid list' })
    if (value.length > maxItems) {
      const msg = `List should have at most ${maxItems} items`
      add(found, value, { type: 'too_long', msg, ctx: { max_length: maxItems } })
    }
    for (let at = 0; at < value.length && found.problems.length < MOST_PROBLEMS; at += 1) {
      below(found, at, value[at], check)
    }
  }
}

function string({ minLength = 0, maxLength = Infinity, pattern, [REFUSAL]: refusal }: JsonSchema): Check {
  const matching = pattern === undefined ? null : new RegExp(pattern, 'u')
  return (value, found) => {
    if (typeof value !== 'string') {
      return add(found, value, { type: 'string_type', msg: 'Input should be a valid string' })
    }
    if (minLength > 0 && !isLonger(value, minLength - 1)) {
      const msg = `String should have at least ${minLength} characters`
      add(found, value, { type: 'string_too_short', msg, ctx: { min_length: minLength } })
    }
    if (isLonger(value, maxLength)) {
      const msg = `String should have at most ${maxLength} characters`
      add(found, value, { type: 'string_too_long', msg, ctx: { max_length: maxLength } })
    }
    if (matching?.test(value) === false) {
      const msg = refusal ?? `String should match pattern '${pattern}'`
      add(found, value, { type: 'string_pattern_mismatch', msg, ctx: { pattern } })
    }
  }
}

/** In characters, which are code points (JSON Schema validation §6.3.1): one or two units. */
function isLonger(text: string, than: number): boolean {
  return text.length > than && (text.length > 2 * than || [...text].length > than)
}

function number({ type, minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity }: JsonSchema): Check {
  const isWhole = type === 'integer'
  return (value, found) => {
    if (typeof value !== 'number' || !Number.isFinite(value) || (isWhole && !Number.isInteger(value))) {
      return add(found, value, isWhole ? sayInteger(value) : sayNumber(value))
    }
    if (value < minimum) {
      const msg = `Input should be greater than or equal to ${minimum}`
      add(found, value, { type: 'greater_than_equal', msg, ctx: { ge: minimum } })
    }
    if (value > maximum) {
      const msg = `Input should be less than or equal to ${maximum}`
      add(found, value, { type: 'less_than_equal', msg, ctx: { le: maximum } })
    }
    if (value <= exclusiveMinimum) {
      const msg = `Input should be greater than ${exclusiveMinimum}`
      add(found, value, { type: 'greater_than', msg, ctx: { gt: exclusiveMinimum } })
    }
  }
}

function sayInteger(value: unknown): Said {
  const msg = 'Input should be a valid integer'
  if (typeof value === 'string') {
    return { type: 'int_parsing', msg: `${msg}, unable to parse string as an integer` }
  }
  if (typeof value === 'number') return { type: 'int_from_float', msg: `${msg}, got a number with a fractional part` }
  return { type: 'int_type', msg }
}

function sayNumber(value: unknown): Said {
  const msg = 'Input should be a valid number'
  return typeof value === 'string' ? { type: 'float_parsing', msg } : { type: 'float_type', msg }
}

function sayBoolean(value: unknown): Said {
  const msg = 'Input should be a valid boolean'
  if (typeof value === 'string') return { type: 'bool_parsing', msg: `${msg}, unable to interpret input` }
  return { type: 'bool_type', msg }
}

type Said = Pick<FieldProblem, 'type' | 'msg' | 'ctx'>

function below(found: Findings, name: string | number, value: unknown, check: Check): void {
  found.loc.push(name)
  check(value, found)
  found.loc.pop()
}

function add({ loc, problems }: Findings, value: unknown, { type, msg, ctx }: Said): void {
  if (problems.length >= MOST_PROBLEMS) return
  problems.push({ type, loc: [...loc], msg, ...shown(loc, value), ...(ctx === undefined ? {} : { ctx }) })
}

function addAt(found: Findings, name: string, said: Said): void {
  below(found, name, undefined, (value, at) => add(at, value, said))
}

/** The input as far as it may be shown: scalars, short, no secret, nor what stands in the list of a secret field. */
function shown(loc: Findings['loc'], input: unknown): { input?: unknown } {
  const field = loc.findLast(each => typeof each === 'string')
  if (field !== undefined && isSecretField(field)) return { input: MASK }
  if (typeof input === 'string') return { input: input.slice(0, 100) }
  if (input === undefined || (typeof input === 'object' && input !== null)) return {}
  return { input }
}
