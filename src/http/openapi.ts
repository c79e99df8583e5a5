/** OpenAPI 3.1 at /openapi.json, made of the very schemas that validate, and a page at /docs that shows it. */
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance, RouteOptions } from 'fastify'
import type { TSchema } from 'typebox'
import type { Access } from './auth.js'
import { Failure } from './schemas.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Shown in place of the schema of a body that the handler judges itself. */
    documentedBody?: TSchema
  }
}

/** Scripts and styles of our own origin only; swagger-ui sets styles on elements, hence 'unsafe-inline' for those. */
const DOCS_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

export async function useOpenapi(app: FastifyInstance, { version }: { readonly version: string }): Promise<void> {
  await app.register(swagger, {
    transform: ({ schema, url, route }) => {
      const body = route.config?.documentedBody
      return { schema: body === undefined ? schema : { ...schema, body }, url }
    },
    transformObject: documents => {
      const document = 'openapiObject' in documents ? documents.openapiObject : {}
      // The plugin calls every body required; an empty one is {} here.
      for (const path of Object.values(document.paths ?? {})) {
        for (const { requestBody } of Object.values(path as Record<string, Operation>)) {
          const required = requestBody?.content['application/json']?.schema?.required ?? []
          if (requestBody !== undefined) requestBody.required = required.length > 0
        }
      }
      return document
    },
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'genro-mail-proxy',
        version,
        description: 'A durable mail queue between applications and their SMTP accounts.',
      },
      components: {
        securitySchemes: {
          token: { type: 'apiKey', in: 'header', name: 'X-API-Token' },
          bearer: { type: 'http', scheme: 'bearer' },
        },
      },
    },
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { url: '/openapi.json', validatorUrl: null, deepLinking: true, persistAuthorization: false },
    staticCSP: DOCS_CSP,
    logLevel: 'silent',
  })
}

interface Operation {
  readonly requestBody?: {
    required: boolean
    readonly content: Record<string, { readonly schema?: { readonly required?: readonly string[] } }>
  }
}

/** Adds to each documented route what all have: who may call it, and what a failure looks like. */
export function documentRoute(route: RouteOptions): void {
  const { schema } = route
  if (schema === undefined || route.method === 'HEAD') {
    route.schema = { ...schema, hide: true }
    return
  }
  // The very word that authentication goes by, so that a reader of the document and its tests know who may call what.
  const access: Access = route.config?.access ?? 'admin'
  Object.assign(schema, { 'x-access': access })
  if (access !== 'public') schema.security = [{ token: [] }, { bearer: [] }]
  schema.response = { default: Failure, ...(schema.response as object | undefined) }
}
