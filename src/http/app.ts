/**
 * The HTTP house: `buildApp` wires authentication, parsing, validation, errors and routes, and never listens.
 * Order of a request: token (before a byte of the body is read) → request limit → body → tenant → fields → handler.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type RawServerDefault,
} from 'fastify'
import { AppError } from '../lib/errors.js'
import { useAudit } from './audit.js'
import { createAuthenticator } from './auth.js'
import './caller.js'
import { limitConnections, waitForAnswer } from './connections.js'
import { letBodiesWait } from './continue.js'
import type { HttpDeps } from './deps.js'
import { createErrorHandler } from './error-handler.js'
import { documentRoute, useOpenapi } from './openapi.js'
import { refuseExpectations, refuseMalformed, refuseTunnels, requireHost } from './outside-routes.js'
import { useBodyParser } from './parse-body.js'
import { createRequestLimit } from './request-limit.js'
import { createRouteTable } from './route-table.js'
import { allRoutes } from './routes/index.js'
import { checkScope } from './scope.js'
import { SECURITY_HEADERS } from './security-headers.js'
import { traceRequests } from './trace-requests.js'
import { compileValidator } from './validate.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Takes new messages: refused while draining and when the disk is nearly full. */
    submission?: boolean
  }
}

/** The app as route files see it: schemas type the handlers. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** A route file's export: adds its routes. */
export type Routes = (app: App, deps: HttpDeps) => void

/** From the first byte to the last of a request: what is slower is cut, whoever sends it. */
const REQUEST_TIMEOUT_MS = 120_000
const HEADERS_TIMEOUT_MS = 15_000
/** By client address. Only unknown tokens count, so that a guesser locks out nobody who shares his address. */
const UNKNOWN_TOKENS_A_MINUTE = 300

export function buildApp(deps: HttpDeps, routes: readonly Routes[] = allRoutes): FastifyInstance {
  const { config } = deps
  const onError = createErrorHandler(deps)
  const app = fastify({
    logger: false,
    bodyLimit: config.server.maxBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: 72_000,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    http: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: 5000,
      maxHeaderSize: 16 * 1024,
      requireHostHeader: false,
    },
    // Message ids have up to 255 characters, each up to 12 once percent-encoded.
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 4096 },
    // Of a URL that cannot be decoded; no hook sees it.
    frameworkErrors: (error, request, reply) => onError(error, request, reply.headers(SECURITY_HEADERS) as never),
    clientErrorHandler: refuseMalformed,
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.setValidatorCompiler(compileValidator)
  // Response schemas document and type; they do not filter what a handler answers.
  app.setSerializerCompiler(() => value => JSON.stringify(value))
  app.setErrorHandler(onError)

  const table = createRouteTable()
  app.addHook('onRoute', route => {
    if (/^\/docs(\/|$)/.test(route.url)) route.config = { ...route.config, access: 'public' }
    if (route.config?.access === undefined) throw new Error(`${route.method} ${route.url} does not say who may call it`)
    table.add(route)
    documentRoute(route)
  })
  const refuseUnknown = (request: FastifyRequest, reply: FastifyReply) => {
    const known = table.methodsOf(request.url)
    // A route for any path below its own may know the method and not the path.
    const allowed = known.includes(request.method) ? [] : known
    if (allowed.length > 0) reply.header('allow', allowed.join(', '))
    const refusal =
      allowed.length > 0
        ? new AppError('method_not_allowed', 'Method Not Allowed')
        : new AppError('not_found', 'Not Found')
    onError(refusal, request, reply)
  }
  app.setNotFoundHandler(refuseUnknown)

  letBodiesWait(app.server)
  refuseTunnels(app.server)
  refuseExpectations(app.server)
  limitConnections(app.server, config.server.maxConnections, deps)
  useSecurityHeaders(app)
  app.addHook('onRequest', (request, reply, done) => {
    requireHost(request.raw)
    waitForAnswer(reply.raw)
    // Else its body would be read and parsed first, of anybody: no route asks for a token here.
    if (request.is404) refuseUnknown(request, reply)
    else done()
  })
  traceRequests(app, deps.tracer)
  useAuthentication(app, deps)
  useBodyParser(app, config.server)
  app.decorateRequest('tenantScope', null)
  app.addHook('preValidation', checkScope)
  useAudit(app, deps)

  app.register(async scope => {
    await useOpenapi(scope as unknown as FastifyInstance, deps)
    for (const add of routes) add(scope as App, deps)
  })
  return app as unknown as FastifyInstance
}

function useAuthentication(app: App, deps: HttpDeps): void {
  const { config, clock } = deps
  const limit = createRequestLimit(config.server.requestsPerMinute, clock)
  const guesses = createRequestLimit(UNKNOWN_TOKENS_A_MINUTE, clock)
  const countUnknown = (request: FastifyRequest) => guesses.take(request.ip)
  const authenticator = createAuthenticator(deps, countUnknown)
  app.decorateRequest('caller')
  app.decorate('forgetTokens', authenticator.forget)
  app.decorate('isAdminToken', authenticator.isAdminToken)
  app.decorate('countUnknownToken', countUnknown)
  app.addHook('onRequest', async request => {
    const { access = 'admin', submission = false } = request.routeOptions.config
    if (access === 'public' || request.is404) return
    request.caller = await authenticator.authenticate(request, access)
    limit.take(request.caller.kind === 'admin' ? '' : request.caller.tenantId)
    if (submission) refuseSubmission(deps)
  })
}

function refuseSubmission({ config, status, freeDiskMb }: HttpDeps): void {
  if (status().draining) {
    throw new AppError('draining', 'The service is shutting down', { retryAfterSeconds: 10 })
  }
  const free = freeDiskMb()
  if (free !== null && free < config.queue.minFreeMb) {
    throw new AppError('disk_full', `Less than ${config.queue.minFreeMb} MB of disk are free`, {
      retryAfterSeconds: 60,
    })
  }
}

function useSecurityHeaders(app: App): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(SECURITY_HEADERS)
    done()
  })
}
