/** Writes a login down for an operator, without secrets, whoever says them. */
import type { Account } from '../accounts/account.js'
import { clean } from './reply.js'

export interface Conversation {
  /** What this side says, its secrets left out. */
  said(command: string): void
  /** A line as the server said it. */
  heard(line: string): void
  /** Text with the account's secrets taken out: a server may echo what it was told. */
  mask(text: string): string
}

/** `secretsOf`: what must not be shown, whoever says it; asked for once, and only where it is needed. */
export function createConversation(secretsOf: () => readonly string[], lines?: string[]): Conversation {
  let secrets: readonly string[] | null = null
  const mask = (text: string) => {
    secrets ??= secretsOf()
    return secrets.reduce((masked, secret) => masked.replaceAll(secret, '***'), text)
  }

  /** What a server asks during AUTH is base64: a secret may be in it without its own base64 being there. */
  function maskChallenge(line: string): string {
    const [, base64] = /^334[ -](\S+)$/.exec(line) ?? []
    if (base64 === undefined) return line
    const text = Buffer.from(base64, 'base64').toString('utf8')
    return mask(text) === text ? line : '334 ***'
  }

  return {
    said: command => lines?.push(`C: ${clean(command)}`),
    heard: line => lines?.push(`S: ${maskChallenge(mask(clean(line))).slice(0, 1000)}`),
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
