/** A transport, an account and mails for tests against an SMTP server on this machine. */
import type { Readable } from 'node:stream'
import type { Account } from '../../src/accounts/account.js'
import type { Config } from '../../src/config.js'
import { systemClock } from '../../src/lib/clock.js'
import { createNetworkGuard } from '../../src/lib/network-guard.js'
import type { AccessTokens } from '../../src/smtp/access-tokens.js'
import { createTransport, type TransportDeps } from '../../src/smtp/pool.js'
import type { Mail, MailTransport, SendOptions } from '../../src/smtp/transport.js'
import { silentLog } from './silent-log.js'

export const smtpConfig: Config['smtp'] = {
  connectTimeoutMs: 5_000,
  commandTimeoutMs: 10_000,
  finalReplyTimeoutMs: 10_000,
  heloName: 'client.test',
  probeFirstMs: 5_000,
  probeMaxMs: 300_000,
  slowSendMs: 30_000,
}

/**
 * For a time limit that is to run out: the other phases of the same session have to end within it, also where the machine
 * does not turn to this process for a while.
 */
export const SHORT_MS = 400

export function testTransport(config: Partial<Config['smtp']> = {}, deps: Partial<TransportDeps> = {}): MailTransport {
  const guard = createNetworkGuard({ allowPrivate: true, allowed: [] })
  return createTransport(
    { ...smtpConfig, ...config },
    { clock: systemClock, guard, log: silentLog, tokens: noTokens, ...deps },
  )
}

/** For accounts with a password, which never ask. */
const noTokens: AccessTokens = {
  get: () => Promise.reject(new Error('a token was asked for')),
  renew: () => Promise.reject(new Error('a token was asked for')),
}

/** An account at `server`, in clear and without a login unless said otherwise. */
export function testAccount(server: { host: string; port: number }, changes: Partial<Account> = {}): Account {
  return {
    key: 1,
    tenantId: 'default',
    id: 'main',
    host: server.host,
    port: server.port,
    user: null,
    password: null,
    authMethod: 'password',
    oauth2: null,
    oauth2Trusted: false,
    useTls: null,
    tlsVerify: true,
    limitPerMinute: null,
    limitPerHour: null,
    limitPerDay: null,
    limitBehavior: 'defer',
    ttlSeconds: 300,
    maxConnections: 10,
    maxMessagesPerConnection: 100,
    maxRecipientsPerTransaction: 100,
    batchSize: null,
    isDefault: true,
    inDoubt: 'retry',
    onPauseTimeout: 'error',
    hostTrusted: true,
    pause: null,
    trial: null,
    createdAt: 0,
    updatedAt: 0,
    isPecAccount: false,
    imapHost: null,
    imapPort: null,
    imapUser: null,
    imapPassword: null,
    imapSsl: null,
    ...changes,
  }
}

export function textMail(content = 'Subject: hello\r\n\r\nHello.\r\n', changes: Partial<Mail> = {}): Mail {
  const octets = Buffer.from(content).toString('latin1')
  return { sizeBytes: octets.length, needsSmtpUtf8: false, is8bit: false, open: () => [octets], ...changes }
}

export function streamMail(sizeBytes: number, open: () => Readable): Mail {
  return { sizeBytes, needsSmtpUtf8: false, is8bit: false, open }
}

export function sendOptions(changes: Partial<SendOptions> = {}): SendOptions {
  return { signal: new AbortController().signal, beforeFinalDot: () => {}, ...changes }
}
