/** A new account, asked for step by step: provider, server, login, limits. Nothing is kept before the last answer. */
import type { Ask } from '../../ask.js'
import { type AccountFlags, filledBy, providerOf, type Tls } from './fields.js'
import { askMethod, askOAuth } from './oauth.js'
import { needsRegion, PROVIDERS, type Provider } from './providers.js'

export interface AskedAccount {
  readonly id: string
  readonly flags: AccountFlags
  /** The login is to be tried once it is saved. */
  readonly test: boolean
}

/** `taken`: ids of accounts that are there. What the flags say is not asked. */
export async function askAccount(ask: Ask, flags: AccountFlags, taken: readonly string[]): Promise<AskedAccount> {
  const provider = providerOf(flags) ?? (await askProvider(ask))
  const id = await ask.text({
    flag: '<account>',
    label: 'Id of the account, as messages name it',
    initial: taken.includes('main') ? undefined : 'main',
    check: text => {
      if (!/^[A-Za-z0-9_.-]{1,64}$/.test(text)) return '1 to 64 of A-Z a-z 0-9 _ . -'
      return taken.includes(text) ? 'there is one already' : undefined
    },
  })
  const region = needsRegion(provider) && flags.host === undefined ? await askRegion(ask, flags) : flags.region
  const known = filledBy(provider, { ...flags, region })
  const server = await askServer(ask, flags, known)
  const login = await askLogin(ask, provider, flags, known)
  const limits = await askLimits(ask, provider, flags, known)
  const test = await ask.confirm('Test the login once it is saved?', '--test', { initial: true })
  return { id, test, flags: { ...known, ...server, ...login, ...limits } }
}

async function askProvider(ask: Ask): Promise<Provider> {
  const choices = PROVIDERS.map(({ name, label, host }) => ({ value: name, label, hint: host || undefined }))
  const name = await ask.choose({ flag: '--provider', label: 'Provider (type to search)' }, choices)
  return PROVIDERS.find(each => each.name === name)!
}

async function askRegion(ask: Ask, { region }: AccountFlags): Promise<string> {
  if (region !== undefined) return region
  return ask.text({
    flag: '--region',
    label: 'AWS region',
    initial: 'eu-west-1',
    check: text => (/^[a-z]{2}(-[a-z]+)+-\d$/.test(text) ? undefined : 'as in eu-west-1'),
  })
}

async function askServer(ask: Ask, given: AccountFlags, known: AccountFlags): Promise<AccountFlags> {
  const host =
    given.host ??
    (await ask.text({
      flag: '--host',
      label: 'SMTP server',
      initial: known.host,
      check: text => (/[\s/@?#\\]/.test(text) ? 'a name or an IP address, without spaces, / @ ? # \\' : undefined),
    }))
  const port =
    given.port ??
    (await ask.text({
      flag: '--port',
      label: 'Port',
      initial: known.port,
      check: text => (isWhole(text, 1, 65_535) ? undefined : 'a whole number from 1 to 65535'),
    }))
  const tls =
    given.tls ??
    (await ask.choose<Tls>({ flag: '--tls', label: 'TLS', initial: known.tls }, [
      { value: 'always', label: 'always', hint: 'nothing is sent without it' },
      { value: 'auto', label: 'auto', hint: 'on port 465, else where the server offers it' },
      { value: 'never', label: 'never' },
    ]))
  return { host, port, tls }
}

async function askLogin(ask: Ask, provider: Provider, given: AccountFlags, known: AccountFlags): Promise<AccountFlags> {
  if (given.user === undefined) await ask.tell(provider.login)
  const user =
    given.user ?? (await ask.text({ flag: '--user', label: 'User', initial: known.user, optional: !known.user }))
  if (user === '') return { user: undefined }
  if ((await askMethod(ask, provider, given)) === 'oauth2') return { user, ...(await askOAuth(ask, provider, given)) }
  if (given.password !== undefined || given.passwordFile !== undefined) return { user }
  return { user, password: await ask.secret({ flag: '--password-file', label: 'Password' }) }
}

async function askLimits(
  ask: Ask,
  provider: Provider,
  given: AccountFlags,
  known: AccountFlags,
): Promise<Pick<AccountFlags, 'limitPerMinute' | 'limitPerHour' | 'limitPerDay'>> {
  const limit = (flag: string, label: string, said: string | undefined, suggested: string | undefined) =>
    said ??
    ask.text({
      flag,
      label: `${label} (0: no limit)`,
      initial: suggested ?? '0',
      check: text => (isWhole(text, 0, 1_000_000_000) ? undefined : 'a whole number, 0 for no limit'),
    })
  await ask.tell(`Limits are suggestions. ${provider.limitsFrom}`)
  return {
    limitPerMinute: await limit('--limit-per-minute', 'Messages a minute', given.limitPerMinute, known.limitPerMinute),
    limitPerHour: await limit('--limit-per-hour', 'Messages an hour', given.limitPerHour, known.limitPerHour),
    limitPerDay: await limit('--limit-per-day', 'Messages a day', given.limitPerDay, known.limitPerDay),
  }
}

function isWhole(text: string, from: number, to: number): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) >= from && Number(text) <= to
}
