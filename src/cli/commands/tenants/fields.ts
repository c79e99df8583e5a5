/** A tenant's fields on the command line: flags, questions, and what the API gets. */
import { type Command, Option } from 'commander'
import { type Ask, secretFromFile } from '../../ask.js'
import type { CliIo } from '../../context.js'
import { UsageError } from '../../errors.js'

export interface TenantFlags {
  readonly name?: string
  readonly baseUrl?: string
  readonly syncPath?: string
  readonly attachmentPath?: string
  readonly auth?: 'none' | 'bearer' | 'basic'
  readonly authUser?: string
  readonly authTokenFile?: string
  readonly authPasswordFile?: string
  readonly limitHourly?: string
  readonly limitDaily?: string
  readonly maxQueued?: string
  readonly attachmentRoot?: string
  readonly active?: boolean
  readonly inactive?: boolean
  /** Typed unseen. */
  readonly secret?: string
}

export function addTenantFields(command: Command): Command {
  return command
    .option('--name <text>', 'name for people')
    .option('--base-url <url>', 'where its application answers; reports and attachment requests go below it')
    .option('--sync-path <path>', 'path of the reports (/mail-proxy/sync)')
    .option('--attachment-path <path>', 'path of attachment requests (/mail-proxy/attachments)')
    .addOption(new Option('--auth <method>', 'how the service logs in there').choices(['none', 'bearer', 'basic']))
    .option('--auth-user <name>', 'user name for basic authentication')
    .option('--auth-token-file <file>', 'file with the bearer token; - is standard input')
    .option('--auth-password-file <file>', 'file with the password; - is standard input')
    .option('--limit-hourly <n>', 'messages an hour over all its accounts')
    .option('--limit-daily <n>', 'messages a day over all its accounts')
    .option('--max-queued <n>', 'most messages that may wait')
    .option('--attachment-root <path>', 'directory of its attachments below the base directory')
    .option('--active', 'it may submit')
    .option('--inactive', 'submissions are refused, what waits stays')
}

/** Everything that matters, step by step. */
export async function askTenantFields(ask: Ask, flags: TenantFlags): Promise<{ id: string; flags: TenantFlags }> {
  const id = await ask.text({
    flag: '<tenant>',
    label: 'Id of the tenant',
    check: text => (/^[A-Za-z0-9_.-]{1,64}$/.test(text) ? undefined : '1 to 64 of A-Z a-z 0-9 _ . -'),
  })
  const name = flags.name ?? (await ask.text({ flag: '--name', label: 'Name', optional: true }))
  const baseUrl =
    flags.baseUrl ??
    (await ask.text({
      flag: '--base-url',
      label: 'Base URL of its application, for reports',
      optional: true,
      check: text => (/^https?:\/\/\S+$/.test(text) ? undefined : 'a URL that begins with http:// or https://'),
    }))
  const given = { ...flags, name: name || undefined, baseUrl: baseUrl || undefined }
  return { id, flags: baseUrl === '' || flags.auth !== undefined ? given : { ...given, ...(await askAuth(ask)) } }
}

async function askAuth(ask: Ask): Promise<TenantFlags> {
  const auth = await ask.choose({ flag: '--auth', label: 'How does the service log in there?', initial: 'bearer' }, [
    { value: 'bearer', label: 'bearer token' },
    { value: 'basic', label: 'user and password' },
    { value: 'none', label: 'not at all' },
  ])
  if (auth === 'none') return { auth }
  if (auth === 'bearer') return { auth, secret: await ask.secret({ flag: '--auth-token-file', label: 'Token' }) }
  return {
    auth,
    authUser: await ask.text({ flag: '--auth-user', label: 'User' }),
    secret: await ask.secret({ flag: '--auth-password-file', label: 'Password' }),
  }
}

/** The API's fields of what was given; an empty value is null, which sets the field back. */
export async function tenantFields(
  io: Pick<CliIo, 'stdin'>,
  flags: TenantFlags,
): Promise<Readonly<Record<string, unknown>>> {
  if (flags.active && flags.inactive) throw new UsageError('--active and --inactive exclude each other')
  const limits = { hourly: emptyIsNull(flags.limitHourly), daily: emptyIsNull(flags.limitDaily) }
  const body = {
    name: emptyIsNull(flags.name),
    client_base_url: emptyIsNull(flags.baseUrl),
    client_sync_path: emptyIsNull(flags.syncPath),
    client_attachment_path: emptyIsNull(flags.attachmentPath),
    client_auth: await clientAuth(io, flags),
    rate_limits: limits.hourly === undefined && limits.daily === undefined ? undefined : limits,
    max_queued_messages: emptyIsNull(flags.maxQueued),
    attachment_root: emptyIsNull(flags.attachmentRoot),
    active: flags.active ? true : flags.inactive ? false : undefined,
  }
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
}

async function clientAuth(io: Pick<CliIo, 'stdin'>, flags: TenantFlags): Promise<unknown> {
  const { auth: method, authUser: user, authTokenFile, authPasswordFile, secret } = flags
  if (method === undefined) {
    if (user === undefined && authTokenFile === undefined && authPasswordFile === undefined) return undefined
    throw new UsageError('--auth is missing: bearer or basic')
  }
  const read = async (flag: string, file: string | undefined) => {
    if (secret !== undefined) return secret
    if (file === undefined) throw new UsageError(`${flag} is missing`)
    return secretFromFile(io, file)
  }
  if (method === 'none') return { method }
  if (method === 'bearer') return { method, token: await read('--auth-token-file', authTokenFile) }
  if (user === undefined) throw new UsageError('--auth-user is missing')
  return { method, user, password: await read('--auth-password-file', authPasswordFile) }
}

function emptyIsNull(text: string | undefined): string | null | undefined {
  return text === '' ? null : text
}
