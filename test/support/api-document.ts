/**
 * The OpenAPI document of a service, read: its operations, and whether requests and answers, as they went over the wire,
 * are as it says.
 */
import { Compile } from 'typebox/compile'
import type { Access } from '../../src/http/auth.js'

export interface Exchange {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  /** Parsed JSON; undefined: none. */
  readonly sent: unknown
  readonly status: number
  /** Parsed JSON, or a text. */
  readonly answered: unknown
}

/** A fetch that notes what it exchanged. */
export function notingFetch(exchanges: Exchange[]): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init)
    const url = new URL(String(input))
    const text = await response.clone().text()
    exchanges.push({
      method: (init?.method ?? 'GET').toLowerCase(),
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      sent: typeof init?.body === 'string' ? JSON.parse(init.body) : undefined,
      status: response.status,
      answered: /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text,
    })
    return response
  }
}

/** A JSON Schema, as far as it is looked into here. */
export interface Schema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
}

interface Content {
  /** Of a request. */
  readonly required?: boolean
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>
}

interface OperationObject {
  readonly 'x-access': Access
  readonly parameters?: readonly { readonly in: string; readonly name: string }[]
  readonly requestBody?: Content
  readonly responses: Readonly<Record<string, Content>>
}

/** What `/openapi.json` answers. */
export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>
}

export interface Operation {
  /** As `get /messages/{id}`. */
  readonly name: string
  /** In capitals. */
  readonly method: string
  readonly path: string
  readonly access: Access
  /** The names of its query parameters. */
  readonly query: readonly string[]
  /** null: it takes none. */
  readonly body: Schema | null
}

export interface ApiDocument {
  /** By their names. */
  readonly operations: ReadonlyMap<string, Operation>
  /** The schema of a body or of the answer 200, or what lies below it; of a nullable one what it is else. */
  schema(operation: string, path: readonly string[]): Schema
  /** Which operation it was; what of it the document does not know. */
  judge(exchange: Exchange): { readonly operation: string | null; readonly problems: readonly string[] }
}

export function readApiDocument({ paths }: OpenApi): ApiDocument {
  const told = new Map<string, { readonly matches: RegExp; readonly spec: OperationObject }>()
  const operations = new Map<string, Operation>()
  for (const [path, methods] of Object.entries(paths)) {
    const matches = new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`)
    for (const [method, spec] of Object.entries(methods)) {
      const name = `${method} ${path}`
      told.set(name, { matches, spec })
      operations.set(name, {
        name,
        method: method.toUpperCase(),
        path,
        access: spec['x-access'],
        query: queryNames(spec),
        body: jsonOf(spec.requestBody) ?? null,
      })
    }
  }
  return {
    operations,
    schema(operation, [part, ...path]) {
      const spec = told.get(operation)?.spec
      let schema = jsonOf(part === 'body' ? spec?.requestBody : spec?.responses['200'])
      for (const name of path) schema = notNull(name === 'items' ? schema?.items : schema?.properties?.[name])
      if (schema === undefined) throw new Error(`${operation} has no ${[part, ...path].join('.')}`)
      return schema
    },
    judge(exchange) {
      const found = [...told].filter(
        ([name, { matches }]) => name.startsWith(`${exchange.method} `) && matches.test(exchange.path),
      )
      // /tenants/sync-status is no tenant called so.
      const [name, operation] = found.find(([each]) => !each.includes('{')) ?? found[0] ?? []
      if (name === undefined || operation === undefined) return { operation: null, problems: ['no such operation'] }
      const { spec } = operation
      return {
        operation: name,
        problems: [
          ...queryProblems(queryNames(spec), exchange.query),
          ...bodyProblems(jsonOf(spec.requestBody), exchange.sent),
          ...answerProblems(spec.responses, exchange),
        ],
      }
    },
  }
}

function queryNames({ parameters = [] }: OperationObject): string[] {
  return parameters.filter(each => each.in === 'query').map(each => each.name)
}

function jsonOf(body: Content | undefined): Schema | undefined {
  return body?.content?.['application/json']?.schema
}

function queryProblems(known: readonly string[], query: Readonly<Record<string, string>>): string[] {
  return Object.keys(query)
    .filter(name => !known.includes(name))
    .map(name => `the query parameter ${name} is not in the document`)
}

/** `tenant_id` is read from the query of every operation, and stands in few bodies. */
function bodyProblems(schema: Schema | undefined, sent: unknown): string[] {
  if (sent === undefined || (schema === undefined && JSON.stringify(sent) === '{}')) return []
  if (schema === undefined) return ['the document knows no body']
  const unknown = Object.keys(sent as object).filter(name => !Object.hasOwn(schema.properties ?? {}, name))
  return [
    ...unknown.map(name => `the field ${name} of the body is not in the document`),
    ...violations('body', schema, sent),
  ]
}

function answerProblems(responses: OperationObject['responses'], { status, answered }: Exchange): string[] {
  const response = responses[status] ?? responses.default
  if (response === undefined) return [`the document knows no answer ${status}`]
  const schema = Object.values(response.content ?? {})[0]?.schema
  if (schema === undefined) return [`the document has no schema for ${status}`]
  const named = Object.keys(schema.properties ?? {})
  const extra =
    named.length === 0 || typeof answered !== 'object' || answered === null
      ? []
      : Object.keys(answered).filter(name => !named.includes(name))
  return [
    ...extra.map(name => `the field ${name} of the answer is not in the document`),
    ...violations(`answer ${status}`, schema, answered),
  ]
}

function violations(what: string, schema: Schema, value: unknown): string[] {
  const compiled = Compile(schema)
  if (compiled.Check(value)) return []
  return [...compiled.Errors(value)].map(each => `${what}${each.instancePath}: ${each.message}`)
}

function notNull(schema: Schema | undefined): Schema | undefined {
  return schema?.anyOf?.find(each => each.type !== 'null') ?? schema
}
