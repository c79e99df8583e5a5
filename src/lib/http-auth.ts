/**
 * Credentials for HTTP as clients give them: `{method, token}` or `{method, user, password}`. What passes makes an
 * Authorization header that the other side reads as it was meant (RFC 6750, RFC 7617).
 */

export type HttpAuth =
  | { readonly method: 'none' }
  | { readonly method: 'bearer'; readonly token: string }
  | { readonly method: 'basic'; readonly user: string; readonly password: string }

export type HttpAuthResult =
  | { readonly ok: true; readonly auth: HttpAuth }
  | { readonly ok: false; readonly field: 'method' | 'token' | 'user' | 'password'; readonly problem: string }

const MAX_SECRET = 8_192

/** Nothing given at all means none. Values are never repeated in a problem. */
export function readHttpAuth(given: Readonly<Record<string, unknown>>): HttpAuthResult {
  const { method, token, user, password } = given
  switch (method) {
    case 'none':
      return { ok: true, auth: { method } }
    case 'bearer': {
      const problem = isGiven(token) ? problemOfToken(token) : 'bearer needs a token'
      return problem === null ? { ok: true, auth: { method, token: token as string } } : wrong('token', problem)
    }
    case 'basic': {
      const userProblem = isGiven(user) ? problemOfUser(user) : 'basic needs a user'
      if (userProblem !== null) return wrong('user', userProblem)
      // An empty password is one: some services take a key as user and nothing else.
      const passwordProblem =
        password === '' ? null : isGiven(password) ? problemOfText(password) : 'basic needs a password'
      if (passwordProblem !== null) return wrong('password', passwordProblem)
      return { ok: true, auth: { method, user: user as string, password: password as string } }
    }
    default:
      // A secret without its method would be dropped in silence, and every call be refused over there.
      return isGiven(method) || isGiven(token) || isGiven(user) || isGiven(password)
        ? wrong('method', 'must be none, bearer or basic')
        : { ok: true, auth: { method: 'none' } }
  }
}

/** The value of the Authorization header; null: none. Basic is RFC 7617 with charset UTF-8. */
export function authorizationOf(auth: HttpAuth | null): string | null {
  switch (auth?.method) {
    case 'bearer':
      return `Bearer ${auth.token}`
    case 'basic':
      return `Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString('base64')}`
    default:
      return null
  }
}

function problemOfToken(token: unknown): string | null {
  if (typeof token !== 'string') return 'must be a string'
  if (token.length > MAX_SECRET) return `is longer than ${MAX_SECRET} characters`
  return /^[\x20-\x7e]+$/.test(token) && token === token.trim()
    ? null
    : 'must be printable ASCII without space around it: it goes into a header'
}

function problemOfUser(user: unknown): string | null {
  // The first colon ends the user (RFC 7617 §2): the rest would become part of the password.
  return problemOfText(user) ?? ((user as string).includes(':') ? 'must not contain a colon' : null)
}

function problemOfText(text: unknown): string | null {
  if (typeof text !== 'string') return 'must be a string'
  if (text.length > MAX_SECRET) return `is longer than ${MAX_SECRET} characters`
  return /[\u0000-\u001f\u007f-\u009f\p{Cs}]/u.test(text) ? 'must not contain control characters' : null
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== ''
}

function wrong(field: 'method' | 'token' | 'user' | 'password', problem: string): HttpAuthResult {
  return { ok: false, field, problem }
}
