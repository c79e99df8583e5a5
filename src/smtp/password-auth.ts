/** AUTH with a password (RFC 4954): PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195). */
import { createHmac } from 'node:crypto'
import type { Reply } from './transport.js'

/** Best first where nobody can listen. */
export const PASSWORD_MECHANISMS = ['PLAIN', 'LOGIN', 'CRAM-MD5'] as const
export type PasswordMechanism = (typeof PASSWORD_MECHANISMS)[number]

/** Says `command`, of which people may read `shown`. */
export type Ask = (command: string, shown: string) => Promise<Reply>

/** Answers the last reply, whatever it is. */
export async function logInWithPassword(
  mechanism: PasswordMechanism,
  user: string,
  password: string,
  ask: Ask,
): Promise<Reply> {
  if (mechanism === 'PLAIN') return sayAtOnce(mechanism, base64(`\0${user}\0${password}`), ask)
  const asked = await ask(`AUTH ${mechanism}`, `AUTH ${mechanism}`)
  if (asked.code !== 334) return asked
  if (mechanism === 'CRAM-MD5') {
    const digest = createHmac('md5', password).update(Buffer.from(asked.text, 'base64')).digest('hex')
    return ask(base64(`${user} ${digest}`), '***')
  }
  const askedAgain = await ask(base64(user), '***')
  return askedAgain.code === 334 ? ask(base64(password), '***') : askedAgain
}

/** The command and, as one line, what the mechanism has to say. */
export async function sayAtOnce(mechanism: string, response: string, ask: Ask): Promise<Reply> {
  const reply = await ask(`AUTH ${mechanism} ${response}`, `AUTH ${mechanism} ***`)
  // An empty challenge asks for what came with the command (RFC 4954 §4): some servers do not read it there.
  return reply.code === 334 && reply.text === '' ? ask(response, '***') : reply
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}
