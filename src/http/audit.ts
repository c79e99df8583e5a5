/**
 * The command log: each state-changing command, written after its answer. Rows are gathered for a moment and written
 * together, so that thousands of submissions a second cost a few statements; secrets are masked before they are kept.
 *
 * A route names its command: `config: { audit: 'addAccount' }`. Its payload is query, body and path as given; a route
 * whose body is long says a short one with `audit(request, payload)`.
 */
import { hash } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Db, Param, Row } from '../db/db.js'
import { isUnsafe } from '../messages/fields.js'
import type { HttpDeps } from './deps.js'
import { maskSecrets, maskUrls } from './mask.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Name of the command in the command log. */
    audit?: string
  }
  interface FastifyRequest {
    audit: Audited | null
  }
  interface FastifyInstance {
    /** Resolves once what was logged so far can be read. */
    flushAudit(): Promise<void>
  }
}

const FLUSH_MS = 250
/** Written at once when there are so many: all of 250 ms would be 5 ms for which submissions wait in the writing thread. */
const MOST_TOGETHER = 64
const PRUNE_EVERY_MS = 600_000
const MAX_WAITING = 10_000
const MAX_PAYLOAD = 64 * 1024
const SHOWN_IDS = 100

/** Sets what the command log says of this request instead of its body. Secrets are masked. */
export function audit(request: FastifyRequest, payload: Readonly<Record<string, unknown>>): void {
  const { tenantScope } = request
  request.audit = {
    // Also what is refused is kept, so a password in a URL that would never be stored.
    payload: maskUrls(maskSecrets(payload)) as Record<string, unknown>,
    // Of no tenant there is: one that PostgreSQL cannot store would take along all that is written with it.
    tenantId: tenantScope !== null && isUnsafe(tenantScope) ? null : tenantScope,
  }
}

/** What the command log says of a long list of ids: how many, the first hundred, SHA-256 over all, one a line. */
export function createIdDigest(): {
  add(id: string): void
  result(): { count: number; ids: string[]; digest: string }
} {
  const ids: string[] = []
  let count = 0
  let lines = ''
  return {
    add(id) {
      if (count < SHOWN_IDS) ids.push(id)
      count += 1
      lines += `${id}\n`
    },
    result: () => ({ count, ids, digest: `sha256:${hash('sha256', lines)}` }),
  }
}

/** What the command log says of a request beside its command and its answer. */
interface Audited {
  readonly payload: Readonly<Record<string, unknown>>
  readonly tenantId: string | null
}

/** As the columns of its insert are called. */
type LogRow = Readonly<Record<'at' | 'endpoint' | 'tenant' | 'payload' | 'status', Param>>

export function useAudit(
  app: FastifyInstance,
  { config, db, clock, log }: Pick<HttpDeps, 'config' | 'db' | 'clock' | 'log'>,
): void {
  let waiting: LogRow[] = []
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<void> = Promise.resolve()
  let isWriting = false
  let prunedAt = Number.NEGATIVE_INFINITY

  const flush = (): Promise<void> => {
    clearTimeout(timer)
    timer = undefined
    const rows = waiting
    waiting = []
    if (rows.length > 0) writing = writing.then(() => write(rows))
    return writing
  }

  const write = async (rows: readonly LogRow[]): Promise<void> => {
    isWriting = true
    try {
      await db.writeRelaxed([
        {
          sql: `insert into command_log (at, endpoint, tenant_id, payload, response_status)
            select g.at, g.endpoint, g.tenant, g.payload, g.status
            from @each(at bigint, endpoint text, tenant text, payload text, status bigint) g`,
          params: [],
          rows,
        },
      ])
      if (clock.monotonic() - prunedAt < PRUNE_EVERY_MS) return
      prunedAt = clock.monotonic()
      await pruneCommands(db, clock.now() - config.queue.commandLogRetentionMs)
    } catch (error) {
      log.warning(`${rows.length} entries of the command log were lost: ${(error as Error).message}`)
    } finally {
      isWriting = false
    }
  }

  app.decorateRequest('audit', null)
  app.decorate('flushAudit', flush)
  app.addHook('onClose', flush)

  app.addHook('preHandler', (request, _reply, done) => {
    const { audit: endpoint, manyMessages } = request.routeOptions.config
    if (endpoint !== undefined && manyMessages !== true) {
      const { query, body, params } = request
      audit(request, { ...asObject(query), ...asObject(body), ...asObject(params) })
    }
    done()
  })

  app.addHook('onResponse', (request, reply, done) => {
    if (request.audit !== null) note(request.routeOptions.config.audit, request.audit, reply.statusCode)
    done()
  })

  const note = (endpoint: string | undefined, { payload, tenantId }: Audited, status: number) => {
    if (endpoint === undefined) return
    if (waiting.length >= MAX_WAITING) waiting.shift()
    waiting.push({ at: clock.now(), endpoint, tenant: tenantId, payload: bounded(payload), status })
    if (waiting.length >= MOST_TOGETHER && !isWriting) void flush()
    else timer ??= setTimeout(flush, FLUSH_MS)
  }
}

export interface CommandFilter {
  readonly tenantId: string | null
  /** Epoch ms, inclusive. */
  readonly since: number | null
  readonly until: number | null
  /** Part of the command's name. */
  readonly endpoint: string | null
  readonly limit: number
}

export interface Command {
  readonly id: number
  readonly at: number
  readonly endpoint: string
  readonly tenantId: string | null
  readonly payload: unknown
  readonly responseStatus: number
}

/** The newest first. */
export async function listCommands(db: Db, filter: CommandFilter): Promise<Command[]> {
  const { tenantId, since, until, endpoint, limit } = filter
  const params: (string | number)[] = []
  const conditions: string[] = []
  const when = (sql: (mark: string) => string, value: string | number | null) => {
    if (value !== null) conditions.push(sql(`$${params.push(value)}`))
  }
  when(mark => `tenant_id = ${mark}`, tenantId)
  when(mark => `at >= ${mark}`, since)
  when(mark => `at <= ${mark}`, until)
  // A substring without LIKE, whose wildcards the filter may hold.
  when(
    mark => `length(replace(lower(endpoint), ${mark}, '')) < length(endpoint)`,
    endpoint === null ? null : endpoint.toLowerCase(),
  )
  const rows = await db.read({
    sql: `select id, at, endpoint, tenant_id, payload, response_status from command_log
      ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''} order by id desc limit $${params.push(limit)}`,
    params,
  })
  return rows.map(commandFrom)
}

/** Removes what is older than `before`, epoch ms, in small units. */
async function pruneCommands(db: Db, before: number): Promise<void> {
  for (;;) {
    const [rows] = await db.writeRelaxed([
      {
        sql: 'delete from command_log where id in (select id from command_log where at < $1 order by at limit 1000) returning id',
        params: [before],
      },
    ])
    if (rows!.length < 1000) return
  }
}

function commandFrom(row: Row): Command {
  return {
    id: Number(row.id),
    at: Number(row.at),
    endpoint: row.endpoint as string,
    tenantId: row.tenant_id as string | null,
    payload: JSON.parse(row.payload as string),
    responseStatus: Number(row.response_status),
  }
}

function bounded(payload: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(payload)
  if (text.length <= MAX_PAYLOAD) return text
  return JSON.stringify({
    omitted: `${text.length} characters`,
    digest: `sha256:${hash('sha256', text)}`,
  })
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}
