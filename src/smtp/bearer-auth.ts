/**
 * AUTH with an access token: XOAUTH2 as Google and Microsoft have it, else OAUTHBEARER (RFC 7628). The token goes with
 * the command. A server that will not have it says why in a challenge, wants an empty word for it, and only then refuses.
 */
import { type Ask, sayAtOnce } from './password-auth.js'
import { clean, isAcceptance } from './reply.js'
import type { Reply } from './transport.js'

/** The best known first. */
export const BEARER_MECHANISMS = ['XOAUTH2', 'OAUTHBEARER'] as const
export type BearerMechanism = (typeof BEARER_MECHANISMS)[number]

export interface Bearer {
  readonly user: string
  readonly token: string
  /** As connected to, which OAUTHBEARER tells the server. */
  readonly host: string
  readonly port: number
}

/** The server refused the login; with `challenge` it said why beside its reply. */
export class BearerRefused extends Error {
  override name = 'BearerRefused'
  constructor(
    readonly reply: Reply,
    readonly challenge: string | null,
  ) {
    super('the server refused the access token')
  }

  /** True when another token might be taken: not for a server that is away or out of step. */
  get isAboutToken(): boolean {
    return this.challenge !== null || this.reply.code === 535
  }
}

/** In place of a login with a password; `mechanism` must be offered. Rejects with BearerRefused. */
export async function logInWithToken(mechanism: BearerMechanism, bearer: Bearer, ask: Ask): Promise<void> {
  let reply = await sayAtOnce(mechanism, initialResponse(mechanism, bearer), ask)
  let challenge: string | null = null
  if (reply.code === 334) {
    challenge = challengeWords(reply.text)
    // %x01 is what RFC 7628 §3.2.3 wants, nothing what Google wants.
    reply = await ask(mechanism === 'OAUTHBEARER' ? 'AQ==' : '', '***')
  }
  if (!isAcceptance(reply)) throw new BearerRefused(reply, challenge)
}

/** In each form in which a server may repeat it. */
export function bearerSecrets(bearer: Bearer): string[] {
  const responses = BEARER_MECHANISMS.map(mechanism => initialResponse(mechanism, bearer))
  const token = Buffer.from(bearer.token).toString('base64')
  return [...responses, token, token.replace(/=+$/, ''), bearer.token]
}

function initialResponse(mechanism: BearerMechanism, { user, token, host, port }: Bearer): string {
  const words =
    mechanism === 'XOAUTH2'
      ? `user=${user}\x01auth=Bearer ${token}\x01\x01`
      : `n,a=${saslName(user)},\x01host=${host}\x01port=${port}\x01auth=Bearer ${token}\x01\x01`
  return Buffer.from(words).toString('base64')
}

/** RFC 5801 §4: comma and equals sign would end the name. */
function saslName(user: string): string {
  return user.replaceAll('=', '=3D').replaceAll(',', '=2C')
}

/** `status 400, scope https://mail.google.com/`: the JSON of RFC 7628 §3.2.2, or what stands there instead. */
function challengeWords(base64: string): string {
  const text = Buffer.from(base64, 'base64').toString('utf8')
  try {
    const fields = Object.entries(JSON.parse(text) as Record<string, unknown>)
    return clean(fields.map(([name, value]) => `${name} ${String(value)}`).join(', ')).slice(0, 300)
  } catch {
    return clean(text).slice(0, 300)
  }
}
