/**
 * What can be said of a transaction before asking the server: the MAIL command with its parameters, and refusals made
 * here for what the server has announced that it cannot take, or what no address may hold. Those have the form of a
 * server's reply, so that the failure policy has one kind of "no" to judge.
 */
import type { Envelope } from '../messages/message.js'
import type { Extensions } from './extensions.js'
import { localReply } from './reply.js'
import type { Mail, Reply } from './transport.js'

export type EnvelopePlan =
  | { readonly refusal: Reply }
  | {
      readonly refusal: null
      readonly mailCommand: string
      /** Recipients the server is asked about, in order. */
      readonly asked: readonly string[]
      /** Refusals made here, by index into envelope.to; null when all are asked. */
      readonly refusedHere: readonly (Reply | null)[] | null
    }

export function planEnvelope(envelope: Envelope, mail: Mail, extensions: Extensions): EnvelopePlan {
  const isPlainFrom = envelope.from === '' || isPlain(envelope.from)
  // What is not plain and not refused is an address in UTF-8.
  const needsUtf8 = mail.needsSmtpUtf8 || !isPlainFrom
  const refusal =
    (isPlainFrom ? null : refuseAddress(envelope.from, extensions)) ??
    (needsUtf8 && !extensions.smtpUtf8 ? noSmtpUtf8('the message') : null) ??
    (extensions.maxSizeBytes > 0 && mail.sizeBytes > extensions.maxSizeBytes ? tooLarge(mail, extensions) : null)
  if (refusal !== null) return { refusal }

  let refusedHere: (Reply | null)[] | null = null
  let anyUtf8 = needsUtf8
  for (let i = 0; i < envelope.to.length; i++) {
    const address = envelope.to[i]!
    if (isPlain(address)) continue
    const reply = refuseAddress(address, extensions)
    if (reply === null) anyUtf8 = true
    else {
      refusedHere ??= Array(envelope.to.length).fill(null)
      refusedHere[i] = reply
    }
  }
  const asked = refusedHere === null ? envelope.to : envelope.to.filter((_, i) => refusedHere[i] === null)
  let mailCommand = `MAIL FROM:<${envelope.from}>`
  if (extensions.size) mailCommand += ` SIZE=${mail.sizeBytes}`
  // RFC 6531 §3.1 makes 8BITMIME a part of SMTPUTF8. To a server without it 8bit goes as it is: every one is clean.
  if (extensions.eightBitMime && (mail.is8bit || anyUtf8)) mailCommand += ' BODY=8BITMIME'
  if (anyUtf8 && extensions.smtpUtf8) mailCommand += ' SMTPUTF8'
  return { refusal: null, mailCommand: `${mailCommand}\r\n`, asked, refusedHere }
}

/** Printable US-ASCII without angle brackets: nothing in it can end the command or the path. */
function isPlain(address: string): boolean {
  return /^[\x20-\x3b\x3d\x3f-\x7e]+$/.test(address)
}

/**
 * For one that is not plain. The second wall behind the check on submission: an address that could smuggle a command is never
 * written out.
 */
function refuseAddress(address: string, extensions: Extensions): Reply | null {
  if (address === '' || /[\x00-\x1f\x7f-\x9f<>\u2028\u2029]/.test(address)) {
    return localReply(553, '5.1.3', 'The address is not valid (refused before sending)')
  }
  return extensions.smtpUtf8 ? null : noSmtpUtf8('the address')
}

function noSmtpUtf8(what: string): Reply {
  return localReply(553, '5.6.7', `The server does not offer SMTPUTF8, which ${what} needs (refused before sending)`)
}

function tooLarge(mail: Mail, extensions: Extensions): Reply {
  const words = `The message has ${mail.sizeBytes} octets, the server takes ${extensions.maxSizeBytes} (refused before sending)`
  return localReply(552, '5.3.4', words)
}
