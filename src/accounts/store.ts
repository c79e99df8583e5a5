/**
 * Accounts in the database. A change writes only over the record it was made from (by `updated_at`), so that two people
 * who change different fields at once do not undo each other.
 */
import { type Db, type Row, rowsParam, type Statement } from '../db/db.js'
import { writeSealed } from '../db/key-fence.js'
import type { Refused } from '../lib/refused.js'
import type { Sealer } from '../lib/sealer.js'
import { forgetAccounts } from '../limits/store.js'
import { changeOAuth, type OAuthPatch, type OAuthSettings, tokenUrlOf } from '../oauth/settings.js'
import { forgetToken } from '../oauth/token-store.js'
import type { Account } from './account.js'
import { refuseLogin } from './login.js'
import { refuseMovedSecret } from './moved-secret.js'
import { ACCOUNT_FIELDS, type AccountSettings, accountFrom, accountRow, sealImapPassword } from './row.js'

/** Fields to set; what is undefined stays. The IMAP password is given open. */
export type AccountPatch = {
  -readonly [K in Exclude<
    keyof AccountSettings,
    'tenantId' | 'id' | 'hostTrusted' | 'oauth2' | 'oauth2Trusted' | 'createdAt' | 'updatedAt'
  >]?: Account[K]
} & {
  /** Changes only what is given in it; null removes it. */
  oauth2?: OAuthPatch | null
}

export interface SaveOptions {
  /** Epoch ms. */
  readonly now: number
  /** The caller is an admin: a host it sets may be a private address (spec section 9). */
  readonly trusted: boolean
}

export type Saved =
  | { readonly kind: 'created' | 'changed'; readonly key: number }
  /** A new account needs a host. */
  | { readonly kind: 'host_missing' }
  | { readonly kind: 'no_tenant' }
  | Refused

/** Creates the account or changes the fields given. */
export async function saveAccount(
  db: Db,
  sealer: Sealer,
  { tenantId, id }: { readonly tenantId: string; readonly id: string },
  given: AccountPatch,
  options: SaveOptions,
): Promise<Saved> {
  const { imapPassword, ...patch } = given
  /** Sealed when it is written, with the key of then; the one there is is carried over as it stands. */
  const withImapPassword = <T extends AccountSettings>(next: T): T => {
    if (imapPassword === undefined) return next
    const sealed = imapPassword === null ? null : sealImapPassword(sealer, tenantId, id, imapPassword)
    return { ...next, imapPassword: sealed }
  }
  for (;;) {
    const current = await getAccount(db, sealer, tenantId, id)
    if (current !== null) {
      const next = changed(current, patch, options)
      const moved = options.trusted ? null : refuseMovedSecret(current, next, given)
      const refusal = moved ?? refuseLogin(next, given)
      if (refusal !== null) return refusal
      const results = await writeSealed(db, sealer, () => [
        replace(withImapPassword(next), current, sealer, options.now),
        ...onlyDefault(next),
        ...(current.oauth2 !== null && next.oauth2 === null ? [forgetToken(current.key)] : []),
      ])
      if (results[0]!.length === 1) return { kind: 'changed', key: current.key }
      continue
    }
    if (patch.host === undefined) return { kind: 'host_missing' }
    const blank = { ...BLANK, tenantId, id, host: patch.host, createdAt: options.now, updatedAt: options.now - 1 }
    const next = changed(blank, patch, options)
    const refusal = refuseLogin(next, given)
    if (refusal !== null) return refusal
    const [rows] = await writeSealed(db, sealer, () => [insert(withImapPassword(next), sealer), ...onlyDefault(next)])
    if (rows!.length === 1) return { kind: 'created', key: Number(rows![0]!.key) }
    // Nothing inserted: the tenant is not there, or somebody was faster and the account is.
    const tenant = await db.read({ sql: 'select 1 from tenants where id = $1', params: [tenantId] })
    if (tenant.length === 0) return { kind: 'no_tenant' }
  }
}

export async function getAccount(db: Db, sealer: Sealer, tenantId: string, id: string): Promise<Account | null> {
  const [row] = await db.read({
    sql: 'select * from accounts where tenant_id = $1 and id = $2',
    params: [tenantId, id],
  })
  return row === undefined ? null : accountFrom(row, sealer)
}

/** Without a tenant (an admin): the account of the tenant that alone has this id, else that of `default`. */
export async function findAccount(
  db: Db,
  sealer: Sealer,
  tenantId: string | null,
  id: string,
): Promise<Account | null> {
  if (tenantId !== null) return getAccount(db, sealer, tenantId, id)
  const rows = await db.read({ sql: 'select * from accounts where id = $1 order by key', params: [id] })
  const row = rows.length === 1 ? rows[0] : rows.find(each => each.tenant_id === 'default')
  return row === undefined ? null : accountFrom(row, sealer)
}

/** By tenant and id; null: of all tenants. */
export async function listAccounts(db: Db, sealer: Sealer, tenantId: string | null): Promise<Account[]> {
  const rows = await db.read(
    tenantId === null
      ? { sql: 'select * from accounts order by tenant_id, id', params: [] }
      : { sql: 'select * from accounts where tenant_id = $1 order by id', params: [tenantId] },
  )
  return rows.map(row => accountFrom(row, sealer))
}

/**
 * Accounts by key, ready for delivery; a key that is gone is missing in the answer. One whose password cannot be
 * opened is told to `onUnreadable` and left out, so that it holds up nobody else.
 */
export async function loadAccounts(
  db: Db,
  sealer: Sealer,
  keys: readonly number[],
  onUnreadable: (key: number, error: unknown) => void = () => {},
): Promise<Account[]> {
  const rows = await db.read({
    sql: 'select a.* from @rows($1: k bigint) g join accounts a on a.key = g.k',
    params: [rowsParam(keys.map(k => ({ k })))],
  })
  return readable(rows, sealer, onUnreadable)
}

/** All accounts, as loadAccounts. */
export async function loadAllAccounts(
  db: Db,
  sealer: Sealer,
  onUnreadable: (key: number, error: unknown) => void = () => {},
): Promise<Account[]> {
  return readable(await db.read({ sql: 'select * from accounts', params: [] }), sealer, onUnreadable)
}

/** Removes the record. Its key, or null when there was none; what it left in the queue is for account-deleted.ts. */
export async function deleteAccount(db: Db, tenantId: string, id: string): Promise<number | null> {
  const chosen = 'where tenant_id = $1 and id = $2'
  const results = await db.write([
    ...forgetAccounts(`select key from accounts ${chosen}`, [tenantId, id]),
    { sql: `delete from accounts ${chosen} returning key`, params: [tenantId, id] },
  ])
  const [gone] = results.at(-1)!
  return gone === undefined ? null : Number(gone.key)
}

export const ACCOUNT_DEFAULTS = {
  port: 587,
  authMethod: 'password',
  useTls: null,
  tlsVerify: true,
  limitBehavior: 'defer',
  ttlSeconds: 300,
  maxConnections: 10,
  maxMessagesPerConnection: 100,
  maxRecipientsPerTransaction: 100,
  isDefault: false,
  inDoubt: 'retry',
  onPauseTimeout: 'error',
  isPecAccount: false,
} as const

const BLANK: Omit<AccountSettings, 'tenantId' | 'id' | 'host' | 'createdAt' | 'updatedAt'> = {
  ...ACCOUNT_DEFAULTS,
  user: null,
  password: null,
  oauth2: null,
  oauth2Trusted: false,
  limitPerMinute: null,
  limitPerHour: null,
  limitPerDay: null,
  batchSize: null,
  hostTrusted: false,
  imapHost: null,
  imapPort: null,
  imapUser: null,
  imapPassword: null,
  imapSsl: null,
}

function readable(
  rows: readonly Row[],
  sealer: Sealer,
  onUnreadable: (key: number, error: unknown) => void,
): Account[] {
  return rows.flatMap(row => {
    try {
      return [accountFrom(row, sealer)]
    } catch (error) {
      onUnreadable(Number(row.key), error)
      return []
    }
  })
}

function changed<T extends AccountSettings>(current: T, patch: AccountPatch, { now, trusted }: SaveOptions): T {
  const { oauth2: oauth2Patch, ...fields } = patch
  const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as typeof fields
  const oauth2 = changeOAuth(current.oauth2, oauth2Patch)
  const next = { ...current, ...given, oauth2 }
  // Host and port name the endpoint together: a tenant who may move the port could talk to anything on a trusted host.
  // Old clients send the whole record: naming the same endpoint again takes no trust away.
  const sameEndpoint = next.host === current.host && next.port === current.port
  return {
    ...next,
    oauth2Trusted: isTokenEndpointTrusted(current, next.oauth2, oauth2Patch, trusted),
    hostTrusted: trusted ? current.hostTrusted || given.host !== undefined : current.hostTrusted && sameEndpoint,
    // Always later than before: it tells one version of the record from the next.
    updatedAt: Math.max(now, current.updatedAt + 1),
  }
}

/** As of the host: an admin who names it vouches for it, a tenant who moves it ends that. */
function isTokenEndpointTrusted(
  current: AccountSettings,
  next: OAuthSettings | null,
  given: OAuthPatch | null | undefined,
  trusted: boolean,
): boolean {
  if (next === null) return false
  if (trusted && (given?.tokenUrl != null || given?.provider != null)) return true
  return current.oauth2Trusted && current.oauth2 !== null && tokenUrlOf(next) === tokenUrlOf(current.oauth2)
}

function insert(account: AccountSettings, sealer: Sealer): Statement {
  const fields = ['tenant_id text', 'id text', ...ACCOUNT_FIELDS, 'created_at bigint']
  const names = fields.map(field => field.split(' ')[0])
  return {
    sql: `insert into accounts (${names.join(', ')})
      select ${names.map(name => `g.${name}`).join(', ')} from @rows($1: ${fields.join(', ')}) g
      join tenants t on t.id = g.tenant_id where true
      on conflict (tenant_id, id) do nothing returning key`,
    params: [rowsParam([accountRow(account, sealer)])],
  }
}

function replace(account: AccountSettings, before: Account, sealer: Sealer, now: number): Statement {
  const sets = ACCOUNT_FIELDS.map(field => field.split(' ')[0]).map(name => `${name} = g.${name}`)
  return {
    // What failed may work with the new settings: it is probed at once.
    sql: `update accounts set ${sets.join(', ')}, probe_at = case when pause_kind = 'failure' then $3 else probe_at end
      from @rows($1: ${ACCOUNT_FIELDS.join(', ')}) g
      where accounts.key = $2 and accounts.updated_at = $4 returning accounts.key`,
    params: [rowsParam([accountRow(account, sealer)]), before.key, now, before.updatedAt],
  }
}

function onlyDefault({ tenantId, id, isDefault }: AccountSettings): Statement[] {
  if (!isDefault) return []
  return [
    {
      sql: `update accounts set is_default = 0 where tenant_id = $1 and is_default = 1 and id <> $2
        and exists (select 1 from accounts o where o.tenant_id = $1 and o.id = $2 and o.is_default = 1)`,
      params: [tenantId, id],
    },
  ]
}
