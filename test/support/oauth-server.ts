/**
 * An OAuth token endpoint on a free port of 127.0.0.1 that judges clients and grants, gives out tokens and takes them
 * back. `isGood` is for the SMTP sink, so that a login is judged by who gave the token.
 */
import type { Clock } from '../../src/lib/clock.js'
import { type HttpSink, type SinkAnswer, startHttpSink } from './http-sink.js'
import { learnSecrets } from './output.js'

export interface OAuthServer {
  readonly tokenUrl: string
  /** Forms that were posted, in order. */
  readonly asked: readonly URLSearchParams[]
  /** Access tokens that were given out, in order. */
  readonly given: readonly string[]
  /** Refresh tokens that are taken; more than one while an old one has its time. */
  readonly refreshTokens: Set<string>
  readonly clients: Map<string, string>
  lifeSeconds: number
  /** Each use gives a new refresh token and ends the one that was used. */
  rotates: boolean
  /** In place of what the server would answer; null: as it would. */
  failing: SinkAnswer | null
  /** Given out here, neither past its end nor revoked. */
  isGood(token: string): boolean
  /** Ends every access token that was given out. */
  revokeAll(): void
  /** Everything secret that went through, to look for where it must not be. */
  secrets(): string[]
  close(): Promise<void>
}

/** `clock`: tokens live for `lifeSeconds` of its true time, which no setting of a wall clock moves. Without: for ever. */
export async function startOAuthServer(clock?: Pick<Clock, 'monotonic'>): Promise<OAuthServer> {
  const asked: URLSearchParams[] = []
  const given: string[] = []
  const endOf = new Map<string, number>()
  const now = () => clock?.monotonic() ?? 0
  const seen = new Set<string>()
  let rotations = 0

  const no = (error: string, error_description: string, status = 400): SinkAnswer => ({
    status,
    body: { error, error_description },
  })
  const sink: HttpSink = await startHttpSink(({ method, body, headers }) => {
    const form = new URLSearchParams(body)
    asked.push(form)
    if (server.failing !== null) return server.failing
    if (method !== 'POST' || headers['content-type'] !== 'application/x-www-form-urlencoded')
      return no('invalid_request', 'a form has to be posted')
    const [id, secret] = clientOf(form, headers.authorization)
    if (server.clients.get(id) !== secret) return no('invalid_client', `client ${id} is not known by that secret`, 401)
    const grant = form.get('grant_type')
    const used = form.get('refresh_token') ?? ''
    if (grant === 'refresh_token') {
      if (!server.refreshTokens.has(used)) return no('invalid_grant', `Token has been expired or revoked: ${used}`)
    } else if (grant !== 'client_credentials') return no('unsupported_grant_type', String(grant))

    const accessToken = `access-${given.length + 1}-${'x'.repeat(40)}`
    given.push(accessToken)
    endOf.set(accessToken, now() + server.lifeSeconds * 1000)
    learnSecrets({ access_token: accessToken })
    const answer = { access_token: accessToken, token_type: 'Bearer', expires_in: server.lifeSeconds }
    if (grant !== 'refresh_token' || !server.rotates) return { body: answer }
    const next = `refresh-rotated-${++rotations}-${'y'.repeat(30)}`
    server.refreshTokens.delete(used)
    server.refreshTokens.add(next)
    seen.add(next)
    learnSecrets({ refresh_token: next })
    return { body: { ...answer, refresh_token: next } }
  })

  const server: OAuthServer = {
    tokenUrl: `${sink.url}/oauth2/token`,
    asked,
    given,
    refreshTokens: new Set(['refresh-from-the-consent']),
    clients: new Map([['app', 'the-client-secret']]),
    lifeSeconds: 3600,
    rotates: false,
    failing: null,
    isGood: token => (endOf.get(token) ?? Number.NEGATIVE_INFINITY) > now(),
    revokeAll: () => endOf.clear(),
    secrets: () => [...given, ...seen, ...server.refreshTokens, ...server.clients.values()],
    close: () => sink.close(),
  }
  return server
}

/** In the form or in the header (RFC 6749 §2.3.1). */
function clientOf(form: URLSearchParams, authorization: string | undefined): readonly [string, string | undefined] {
  if (authorization === undefined) return [form.get('client_id') ?? '', form.get('client_secret') ?? undefined]
  const [id = '', secret = ''] = Buffer.from(authorization.replace(/^Basic /, ''), 'base64')
    .toString()
    .split(':')
  return [decodeURIComponent(id), decodeURIComponent(secret)]
}

/** Fields of an account that logs in at this server's behest. */
export function oauthAccount(server: OAuthServer, oauth2: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    user: 'shop@mail.test',
    auth_method: 'oauth2',
    oauth2: {
      token_url: server.tokenUrl,
      client_id: 'app',
      client_secret: 'the-client-secret',
      refresh_token: 'refresh-from-the-consent',
      ...oauth2,
    },
  }
}
