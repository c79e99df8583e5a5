/** An account's fields on the command line: flags, what a provider fills in, and what the API gets. */
import { type Command, Option } from 'commander'
import { secretFromFile } from '../../ask.js'
import type { CliIo } from '../../context.js'
import { UsageError } from '../../errors.js'
import { addOAuth, type OAuthFlags, oauthFields, wantsOAuth } from './oauth.js'
import { findProvider, hostOf, needsRegion, PROVIDERS, type Provider } from './providers.js'

/** Flags by their names in camel case; numbers are judged by the API. */
export interface AccountFlags extends OAuthFlags {
  readonly provider?: string
  readonly region?: string
  readonly host?: string
  readonly port?: string
  readonly user?: string
  /** Typed, or read from a file by `readSecrets`. */
  readonly password?: string
  readonly passwordFile?: string
  readonly imapPasswordFile?: string
  readonly tls?: Tls
  readonly limitPerMinute?: string
  readonly limitPerHour?: string
  readonly limitPerDay?: string
  readonly maxRecipientsPerTransaction?: string
  readonly pec?: boolean
  readonly [flag: string]: string | boolean | undefined
}

export type Tls = 'always' | 'auto' | 'never'

const USE_TLS: Readonly<Record<Tls, boolean | null>> = { always: true, auto: null, never: false }

/** Flags whose value goes to the API as it is; an empty one is null, which sets the field back. */
const PLAIN: readonly (readonly [flags: string, field: string, about: string, choices?: readonly string[]])[] = [
  ['--host <name>', 'host', 'name or IP address of the SMTP server'],
  ['--port <number>', 'port', 'port of the SMTP server (587)'],
  ['--user <name>', 'user', 'user name of the login; without one none is tried'],
  ['--limit-per-minute <n>', 'limit_per_minute', 'messages a minute; 0: no limit'],
  ['--limit-per-hour <n>', 'limit_per_hour', 'messages an hour; 0: no limit'],
  ['--limit-per-day <n>', 'limit_per_day', 'messages a day; 0: no limit'],
  ['--limit-behavior <what>', 'limit_behavior', 'what is over a limit waits or fails (defer)', ['defer', 'error']],
  ['--ttl <seconds>', 'ttl', 'how long an idle connection is kept (300); 0: none is kept'],
  ['--max-connections <n>', 'max_connections', 'connections at once (10)'],
  ['--max-messages-per-connection <n>', 'max_messages_per_connection', 'messages over one connection (100)'],
  ['--max-recipients-per-transaction <n>', 'max_recipients_per_transaction', 'recipients of one transaction (100)'],
  ['--batch-size <n>', 'batch_size', 'messages claimed at once; 0: as configured'],
  [
    '--in-doubt <what>',
    'in_doubt',
    'after a connection lost behind the final dot: send again, or hold for a person (retry)',
    ['retry', 'hold'],
  ],
  ['--on-pause-timeout <what>', 'on_pause_timeout', 'what waits behind a long pause (error)', ['error', 'hold']],
  ['--imap-host <name>', 'imap_host', 'mailbox of the account; kept for later, without effect'],
  ['--imap-port <number>', 'imap_port', 'its port (993)'],
  ['--imap-user <name>', 'imap_user', 'its user'],
]

/** Flags without a value, each with its opposite. */
const SWITCHES: readonly (readonly [name: string, field: string, yes: string, no: string])[] = [
  ['tls-verify', 'tls_verify', 'the certificate must be good (so it is at first)', 'any certificate is taken'],
  ['default', 'is_default', 'for messages that name no account', 'no longer for messages that name no account'],
  ['pec', 'is_pec_account', 'certified mail (PEC); kept for later, without effect', 'no certified mail'],
  ['imap-ssl', 'imap_ssl', 'TLS to the mailbox from the start', 'no TLS to the mailbox from the start'],
]

export function addAccountFields(command: Command): Command {
  for (const [flags, , about, choices] of PLAIN) {
    const option = new Option(flags, about)
    command.addOption(choices === undefined ? option : option.choices([...choices]))
    if (flags.startsWith('--user')) addLogin(command)
  }
  command.option('--imap-password-file <file>', 'file with the password of the mailbox; - is standard input')
  for (const [name, , yes, no] of SWITCHES) command.option(`--${name}`, yes).option(`--no-${name}`, no)
  return command
}

/** And TLS, without which neither password nor token should go. */
function addLogin(command: Command): void {
  command
    .option('--password-file <file>', 'file with the password; - is standard input')
    .option('--password <text>', 'the password; every user of this machine can read it while the command runs')
  addOAuth(command).addOption(
    new Option(
      '--tls <when>',
      'nothing is sent without TLS, or it is used on port 465 and where the server offers it, or never',
    ).choices(['always', 'auto', 'never']),
  )
}

export function addProvider(command: Command): Command {
  return command
    .addOption(
      new Option('--provider <name>', 'fills in host, port, TLS and the limits the provider publishes').choices(
        PROVIDERS.map(each => each.name),
      ),
    )
    .option('--region <name>', 'region of Amazon SES, as in eu-west-1')
}

/** The flags with what the provider knows where they are silent. */
export function filledBy(provider: Provider | undefined, flags: AccountFlags): AccountFlags {
  if (provider === undefined) return flags
  if (needsRegion(provider) && flags.host === undefined && flags.region === undefined) {
    throw new UsageError('--region is missing, as in eu-west-1')
  }
  const { port, user, tls, limits, recipients, isPec, oauth } = provider
  const known: AccountFlags = {
    host: hostOf(provider, flags.region) || undefined,
    port: String(port),
    user,
    tls: tls ? 'always' : 'auto',
    limitPerMinute: limits.perMinute?.toString(),
    limitPerHour: limits.perHour?.toString(),
    limitPerDay: limits.perDay?.toString(),
    maxRecipientsPerTransaction: recipients?.toString(),
    pec: isPec,
    oauthProvider: wantsOAuth(flags) && flags.oauthTokenUrl === undefined ? oauth : undefined,
  }
  return { ...known, ...flags }
}

/** That of the flags; undefined when none was named. */
export function providerOf({ provider }: AccountFlags): Provider | undefined {
  return provider === undefined ? undefined : findProvider(provider)
}

/** The API's fields of what was given. */
export async function accountFields(
  io: Pick<CliIo, 'stdin'>,
  flags: AccountFlags,
): Promise<Readonly<Record<string, unknown>>> {
  const files = Object.entries(flags).filter(([name, value]) => name.endsWith('File') && value === '-')
  if (files.length > 1) throw new UsageError('only one secret can come from standard input')
  if (flags.passwordFile !== undefined && flags.password !== undefined) {
    throw new UsageError('--password and --password-file exclude each other')
  }
  const body: Record<string, unknown> = {
    use_tls: flags.tls === undefined ? undefined : USE_TLS[flags.tls],
    password: await secret(io, flags.password, flags.passwordFile),
    imap_password: await secret(io, undefined, flags.imapPasswordFile),
    ...(await oauthFields(io, flags)),
  }
  for (const [names, field] of PLAIN) body[field] = emptyIsNull(flags[attributeOf(names)])
  for (const [name, field] of SWITCHES) body[field] = flags[attributeOf(`--${name}`)]
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
}

async function secret(
  io: Pick<CliIo, 'stdin'>,
  typed: string | undefined,
  file: string | undefined,
): Promise<string | null | undefined> {
  return file === undefined ? (emptyIsNull(typed) as string | null | undefined) : secretFromFile(io, file)
}

function attributeOf(flags: string): string {
  return new Option(flags).attributeName()
}

function emptyIsNull<T>(value: T): T | null {
  return value === '' ? null : value
}
