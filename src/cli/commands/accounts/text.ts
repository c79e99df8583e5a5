/** Accounts and login tests as people read them. */
import type { CliIo } from '../../context.js'
import { fields, table } from '../../output/table.js'
import { paint, paintState, printable, time } from '../../output/text.js'

/** An account as the API tells it. */
export interface Account {
  readonly id: string
  readonly tenant_id: string
  readonly host: string
  readonly port: number
  readonly user?: string
  readonly auth_method?: string
  readonly oauth2?: { readonly provider?: string; readonly token_url?: string; readonly grant_type: string }
  readonly use_tls?: boolean
  readonly tls_verify: boolean
  readonly limit_per_minute?: number
  readonly limit_per_hour?: number
  readonly limit_per_day?: number
  readonly limit_behavior: string
  readonly ttl: number
  readonly max_connections: number
  readonly max_messages_per_connection: number
  readonly max_recipients_per_transaction: number
  readonly batch_size?: number
  readonly is_default: boolean
  readonly in_doubt: string
  readonly on_pause_timeout: string
  readonly is_pec_account: boolean
  readonly imap_host?: string
  readonly imap_port: number
  readonly imap_user?: string
  readonly paused: boolean
  readonly pause?: {
    readonly kind: string
    readonly since_ts: number
    readonly reason: string
    readonly next_probe_ts?: number
    readonly probes: number
  }
  readonly created_at: string
  readonly updated_at: string
}

export interface LoginTest {
  readonly ok: boolean
  readonly conversation: readonly string[]
  readonly error?: string
}

/** A table; of all tenants with a column that names them. */
export function accountsText(
  io: CliIo,
  accounts: readonly Account[],
  { instance, tenant }: { readonly instance: string; readonly tenant: string | null },
): string {
  const owner = { title: 'TENANT', of: (each: Account) => each.tenant_id }
  const none =
    tenant === null
      ? `there is no account; \`mail-proxy ${instance} <tenant> accounts add\` makes one`
      : `${tenant} has no account; \`mail-proxy ${instance} ${tenant} accounts add\` makes one`
  return table(
    io,
    accounts,
    [
      ...(tenant === null ? [owner] : []),
      { title: 'ACCOUNT', of: each => each.id },
      { title: 'HOST', of: each => `${each.host}:${each.port}` },
      { title: 'USER', of: each => each.user },
      { title: 'LIMITS', of: limitsOf },
      {
        title: 'STATE',
        of: stateOf,
        paint: text => text.replace(/^(active|paused)/, state => paintState(io, state)),
      },
    ],
    none,
  )
}

export function accountText(io: CliIo, account: Account): string {
  const { pause } = account
  const whenOver = account.limit_behavior === 'error' ? 'fails' : 'waits'
  return fields(io, [
    ['account', account.id],
    ['tenant', account.tenant_id],
    ['state', account.paused ? 'paused' : 'active'],
    ['reason', pause?.reason],
    ['paused since', pause === undefined ? undefined : `${time(pause.since_ts)} by ${pausedBy(pause.kind)}`],
    ['next probe', pause?.next_probe_ts === undefined ? undefined : time(pause.next_probe_ts)],
    ['server', `${account.host}:${account.port}`],
    ['TLS', tlsOf(account)],
    ['user', account.user ?? 'none: no login'],
    ['login', loginOf(account)],
    ['limits', limitsOf(account) === '' ? 'none' : `${limitsOf(account)}; what is over them ${whenOver}`],
    ['default', account.is_default],
    ['connections', `${account.max_connections}, ${account.max_messages_per_connection} messages each`],
    ['kept idle', `${account.ttl} s`],
    ['recipients', `${account.max_recipients_per_transaction} a transaction`],
    ['claimed at once', account.batch_size],
    ['in doubt', account.in_doubt === 'hold' ? 'hold for a person' : 'send again'],
    ['on long pause', account.on_pause_timeout === 'hold' ? 'messages wait' : 'messages become errors'],
    ['PEC', account.is_pec_account || undefined],
    ['mailbox', account.imap_host === undefined ? undefined : `${account.imap_host}:${account.imap_port}`],
    ['mailbox user', account.imap_user],
    ['made', account.created_at],
    ['changed', account.updated_at],
  ]).replace(account.paused ? 'paused' : 'active', state => paintState(io, state))
}

/** The conversation, and in the last line what came of it. */
export function loginText(io: CliIo, { ok, conversation, error }: LoginTest): string {
  const lines = conversation.map(line => {
    const text = printable(line)
    return line.startsWith('C:') ? paint(io, 'cyan', text) : text
  })
  const end = ok ? paint(io, 'green', 'login works') : `${paint(io, 'red', 'failed')}: ${printable(error ?? 'unknown')}`
  return [...lines, end].map(line => `${line}\n`).join('')
}

/** `30/min 500/day`; empty without one. */
export function limitsOf(account: Account): string {
  const parts = [
    [account.limit_per_minute, 'min'],
    [account.limit_per_hour, 'hour'],
    [account.limit_per_day, 'day'],
  ] as const
  return parts.flatMap(([n, unit]) => (n === undefined ? [] : [`${n}/${unit}`])).join(' ')
}

const REASON_LENGTH = 40

function stateOf({ paused, pause }: Account): string {
  if (!paused) return 'active'
  const reason = [...(pause?.reason ?? '')]
  const shortened = reason.length <= REASON_LENGTH ? reason : [...reason.slice(0, REASON_LENGTH - 1), '…']
  return reason.length === 0 ? 'paused' : `paused: ${shortened.join('')}`
}

function pausedBy(kind: string): string {
  return kind === 'manual' ? 'an operator' : 'the service: the server refused the account'
}

function tlsOf({ use_tls: tls, tls_verify: verify }: Account): string {
  const when = tls === undefined ? 'on port 465, else where offered' : tls ? 'always' : 'never'
  return tls === false || verify ? when : `${when}; any certificate is taken`
}

/** undefined: with a password. */
function loginOf({ auth_method: method, oauth2 }: Account): string | undefined {
  if (method !== 'oauth2' || oauth2 === undefined) return undefined
  return `OAuth2 by ${oauth2.grant_type}, ${oauth2.provider ?? oauth2.token_url}`
}
