/**
 * Listens to nodemailer's transaction log: tells how far a login has come, and writes the conversation down for an
 * operator, without secrets, whoever says them.
 */
import type { Account } from '../accounts/account.js'
import { clean } from './reply.js'
import type { SmtpPhase } from './transport.js'

export interface Conversation {
  readonly logger: object
  phase(): SmtpPhase
  /** What the server answered to the last EHLO; null when it has not. */
  ehloReply(): string | null
  /** Text with the account's secrets taken out: a server may echo what it was told. */
  mask(text: string): string
}

/** `secrets`: what must not be shown, whoever says it. */
export function createConversation(secrets: readonly string[], implicitTls: boolean, lines?: string[]): Conversation {
  let phase: SmtpPhase = implicitTls ? 'tls' : 'greeting'
  let ehloReply: string | null = null
  const mask = (text: string) => secrets.reduce((masked, secret) => masked.replaceAll(secret, '***'), text)

  function onClient(line: string): void {
    const verb = /^[A-Za-z]+/.exec(line)?.[0]?.toUpperCase()
    if (phase === 'auth' && verb !== 'QUIT') {
      lines?.push('C: ***')
      return
    }
    if (verb === 'EHLO') ehloReply = null
    if (verb === 'EHLO' || verb === 'HELO') phase = 'ehlo'
    else if (verb === 'STARTTLS') phase = 'tls'
    else if (verb === 'AUTH') phase = 'auth'
    const [command, mechanism, secret] = line.split(' ')
    lines?.push(
      verb === 'AUTH' ? `C: ${command} ${mechanism}${secret === undefined ? '' : ' ***'}` : `C: ${clean(line)}`,
    )
  }

  function onServer(text: string): void {
    if (phase === 'ehlo') ehloReply ??= text
    for (const line of text.split('\n')) lines?.push(`S: ${maskChallenge(mask(clean(line))).slice(0, 1000)}`)
  }

  /** What a server asks during AUTH is base64: a secret may be in it without its own base64 being there. */
  function maskChallenge(line: string): string {
    const [, base64] = /^334[ -](\S+)$/.exec(line) ?? []
    if (base64 === undefined) return line
    const text = Buffer.from(base64, 'base64').toString('utf8')
    return mask(text) === text ? line : '334 ***'
  }

  function log(entry: { tnx?: string } | undefined, text: unknown): void {
    if (entry?.tnx === 'client') onClient(String(text))
    else if (entry?.tnx === 'server') onServer(String(text))
    else if (entry?.tnx === 'network' && phase === 'tls' && implicitTls) phase = 'greeting'
  }

  return {
    logger: { trace: log, debug: log, info: log, warn: () => {}, error: () => {}, fatal: () => {} },
    phase: () => phase,
    ehloReply: () => ehloReply,
    mask,
  }
}

/** In each form in which a server may repeat it. Very short passwords stay: they occur in any text, and give nothing away. */
export function passwordSecrets({ user, password }: Account): string[] {
  if (password === null || password.length < 4) return []
  const base64 = Buffer.from(password).toString('base64')
  const plain = Buffer.from(`\0${user ?? ''}\0${password}`).toString('base64')
  return [plain, base64, base64.replace(/=+$/, ''), password]
}
