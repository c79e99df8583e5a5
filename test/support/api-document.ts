/** Holds requests and answers, as they went over the wire, to the OpenAPI document of the service that answered. */
import { Compile } from 'typebox/compile'

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

export interface ApiDocument {
  /** As `get /messages/{id}`. */
  readonly operations: readonly string[]
  /** The schema of a body or of the answer 200, or what lies below it; of a nullable one what it is else. */
  schema(operation: string, path: readonly string[]): any
  /** Which operation it was; what of it the document does not know. */
  judge(exchange: Exchange): { readonly operation: string | null; readonly problems: readonly string[] }
}

export function readApiDocument(document: any): ApiDocument {
  const operations = new Map<string, { readonly matches: RegExp; readonly spec: any }>()
  for (const [path, methods] of Object.entries<any>(document.paths)) {
    const matches = new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`)
    for (const [method, spec] of Object.entries(methods)) operations.set(`${method} ${path}`, { matches, spec })
  }
  return {
    operations: [...operations.keys()],
    schema(operation, [part, ...path]) {
      const spec = operations.get(operation)?.spec
      const content = part === 'body' ? spec?.requestBody?.content : spec?.responses?.['200']?.content
      let schema = content?.['application/json']?.schema
      for (const name of path) schema = notNull(name === 'items' ? schema.items : schema.properties[name])
      return schema
    },
    judge(exchange) {
      const found = [...operations].filter(
        ([name, { matches }]) => name.startsWith(`${exchange.method} `) && matches.test(exchange.path),
      )
      // /tenants/sync-status is no tenant called so.
      const [name, operation] = found.find(([each]) => !each.includes('{')) ?? found[0] ?? []
      if (name === undefined || operation === undefined) return { operation: null, problems: ['no such operation'] }
      const { spec } = operation
      return {
        operation: name,
        problems: [
          ...queryProblems(spec.parameters ?? [], exchange.query),
          ...bodyProblems(spec.requestBody?.content?.['application/json']?.schema, exchange.sent),
          ...answerProblems(spec.responses, exchange),
        ],
      }
    },
  }
}

function queryProblems(parameters: readonly any[], query: Readonly<Record<string, string>>): string[] {
  const known = new Set(parameters.filter(each => each.in === 'query').map(each => each.name))
  return Object.keys(query)
    .filter(name => !known.has(name))
    .map(name => `the query parameter ${name} is not in the document`)
}

/** `tenant_id` is read from the query of every operation, and stands in few bodies. */
function bodyProblems(schema: any, sent: unknown): string[] {
  if (sent === undefined || (schema === undefined && JSON.stringify(sent) === '{}')) return []
  if (schema === undefined) return ['the document knows no body']
  const unknown = Object.keys(sent as object).filter(name => !Object.hasOwn(schema.properties ?? {}, name))
  return [
    ...unknown.map(name => `the field ${name} of the body is not in the document`),
    ...violations('body', schema, sent),
  ]
}

function answerProblems(responses: any, { status, answered }: Exchange): string[] {
  const response = responses[status] ?? responses.default
  if (response === undefined) return [`the document knows no answer ${status}`]
  const schema = Object.values<any>(response.content ?? {})[0]?.schema
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

function violations(what: string, schema: any, value: unknown): string[] {
  const compiled = Compile(schema)
  if (compiled.Check(value)) return []
  return [...compiled.Errors(value)].map(each => `${what}${(each as any).instancePath}: ${each.message}`)
}

function notNull(schema: any): any {
  return schema.anyOf?.find((each: any) => each.type !== 'null') ?? schema
}
