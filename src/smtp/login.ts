/**
 * From the greeting to a server that takes mail: TLS from the start or by STARTTLS (RFC 3207), EHLO (RFC 5321 §3.2), AUTH
 * (RFC 4954). Throws what loginFailure puts into words.
 */
import type { ConnectionOptions } from 'node:tls'
import type { Account } from '../accounts/account.js'
import { type Bearer, logInWithToken } from './bearer-auth.js'
import { chooseBearerMechanism, chooseMechanism } from './choose-mechanism.js'
import { type Dialogue, LoginRefused } from './dialogue.js'
import { type Extensions, type Offer, readOffer } from './extensions.js'
import { logInWithPassword } from './password-auth.js'
import { isAcceptance } from './reply.js'

export interface Introduction {
  /** What this side calls itself. */
  readonly name: string
  readonly tls: ConnectionOptions
  /** An access token in place of the account's password. */
  readonly bearer: Bearer | null
}

export async function logIn(dialogue: Dialogue, account: Account, by: Introduction): Promise<Extensions> {
  if (account.useTls !== false && account.port === 465) await dialogue.startTls(by.tls)
  const greeting = await dialogue.greeting()
  if (greeting.code !== 220) throw new LoginRefused(greeting)
  let offered = await sayHello(dialogue, account, by.name)
  if (!dialogue.isEncrypted && wantsStartTls(account, offered)) {
    const answer = await dialogue.ask('tls', 'STARTTLS')
    if (!isAcceptance(answer)) throw new LoginRefused(answer)
    await dialogue.startTls(by.tls)
    offered = await sayHello(dialogue, account, by.name)
  }
  await authenticate(dialogue, account, by.bearer, offered)
  return offered.extensions
}

async function sayHello(dialogue: Dialogue, account: Account, name: string): Promise<Offer> {
  const answer = await dialogue.ask('ehlo', `EHLO ${name}`)
  // Another 2xx is out of step, and no list of extensions: the server would seem to offer neither TLS nor AUTH.
  if (answer.code === 250) return readOffer(dialogue.linesBehindFirst)
  const lacksTls = account.useTls === true && !dialogue.isEncrypted
  // HELO is for those that know no EHLO, not for those that refuse it for now.
  if (answer.code < 500 || lacksTls) throw new LoginRefused(answer)
  const plain = await dialogue.ask('ehlo', `HELO ${name}`)
  if (!isAcceptance(plain)) throw new LoginRefused(plain)
  return readOffer([])
}

/** Also asked for where it is not offered: who stands between may have taken the offer away. */
function wantsStartTls({ useTls }: Account, { startTls }: Offer): boolean {
  return useTls === true || (useTls === null && startTls)
}

async function authenticate(
  dialogue: Dialogue,
  account: Account,
  bearer: Bearer | null,
  { mechanisms }: Offer,
): Promise<void> {
  const offer = { secure: dialogue.isEncrypted, mechanisms }
  const ask = (command: string, shown: string) => dialogue.ask('auth', command, shown)
  if (bearer !== null) return logInWithToken(chooseBearerMechanism(account, offer), bearer, ask)
  const mechanism = chooseMechanism(account, offer)
  if (mechanism === null) return
  const answer = await logInWithPassword(mechanism, account.user!, account.password!, ask)
  if (!isAcceptance(answer)) throw new LoginRefused(answer)
}
