/**
 * Tokens in the database, one row an account, sealed as a whole: instances and restarts share them. Who asks for a new
 * one claims the row first, so that of many instances one uses a refresh token that may be good for a single use.
 */
import type { Db, Row, Statement } from '../db/db.js'
import { SEALED_PAGE, type SealedPlace, writeSealed } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'

export interface KeptToken {
  readonly accessToken: string
  /** Epoch ms. */
  readonly obtainedAt: number
  readonly expiresAt: number
  /** What the provider gave in place of the refresh token that was set; null: nothing. */
  readonly refreshToken: string | null
  /** Digest of all that shaped the request: with other settings the access token is not used. */
  readonly request: string
  /** Digest of what the refresh token belongs to: with another grant it is not used. */
  readonly origin: string
}

export interface KeptRow {
  /** Grows with each token: a result of an earlier claim does not replace a newer one. */
  readonly version: number
  /** null: there is none, or it cannot be opened. */
  readonly token: KeptToken | null
}

export interface TokenStore {
  read(place: TokenPlace): Promise<KeptRow | null>
  /** The row, for the caller alone until `until`; taken: another one has it; gone: there is no such account. */
  claim(place: TokenPlace, now: number, until: number): Promise<KeptRow | 'taken' | 'gone'>
  /** Keeps the token and ends the claim. False when another one was kept since, or the account is gone. */
  put(place: TokenPlace, version: number, token: KeptToken): Promise<boolean>
  /** Ends a claim that came to nothing. */
  release(place: TokenPlace, until: number): Promise<void>
}

/** How far the clocks of two instances may differ, ms. */
const SKEW_MS = 600_000

export interface TokenPlace {
  /** The account's. */
  readonly key: number
  /** Binds what is sealed to its place. */
  readonly context: string
}

export function createTokenStore(db: Db, sealer: Sealer): TokenStore {
  const rowOf = (row: Row, context: string): KeptRow => ({
    version: Number(row.version),
    token: open(row.token, sealer, context),
  })

  return {
    async read({ key, context }) {
      const [row] = await db.read({
        sql: 'select version, token from access_tokens where account_key = $1',
        params: [key],
      })
      return row === undefined ? null : rowOf(row, context)
    },
    async claim({ key, context }, now, until) {
      const [rows] = await db.write([
        {
          // A claim from far in the future was made by a clock that has been set since.
          sql: `insert into access_tokens (account_key, version, asking_until)
            select key, 0, cast($3 as bigint) from accounts where key = $1
            on conflict (account_key) do update set asking_until = excluded.asking_until
              where access_tokens.asking_until <= $2 or access_tokens.asking_until > $4
            returning version, token`,
          params: [key, now, until, until + SKEW_MS],
        },
      ])
      if (rows![0] !== undefined) return rowOf(rows![0], context)
      const account = await db.read({ sql: 'select 1 from accounts where key = $1', params: [key] })
      return account.length === 0 ? 'gone' : 'taken'
    },
    async put({ key, context }, version, token) {
      const [rows] = await writeSealed(db, sealer, () => [
        {
          sql: `update access_tokens set token = $3, version = version + 1, asking_until = 0
            where account_key = $1 and version = $2 returning version`,
          params: [key, version, sealer.seal(JSON.stringify(token), context)],
        },
      ])
      return rows!.length === 1
    },
    async release({ key }, until) {
      await db.write([
        {
          sql: 'update access_tokens set asking_until = 0 where account_key = $1 and asking_until = $2',
          params: [key, until],
        },
      ])
    },
  }
}

/** The associated data under which the tokens of an account are sealed and opened. */
export function accessTokenContext(tenantId: string, accountId: string): string {
  return `account:${tenantId}/${accountId}:access_token`
}

/** Where tokens are sealed. */
export const SEALED_IN_TOKENS: readonly SealedPlace[] = [
  {
    table: 'access_tokens',
    key: 'account_key',
    first: 0,
    column: 'token',
    page: `select t.account_key as at, t.token as text, a.tenant_id, a.id
      from access_tokens t join accounts a on a.key = t.account_key
      where t.account_key > $1 order by t.account_key limit ${SEALED_PAGE}`,
    values: ({ text, tenant_id, id }) => [
      { sealed: text as string, context: accessTokenContext(tenant_id as string, id as string) },
    ],
  },
]

/** Removes what was kept for an account whose settings were removed, if the change before it in its unit came about. */
export function forgetToken(accountKey: number): Statement {
  return {
    sql: `delete from access_tokens where account_key = $1
      and exists (select 1 from accounts where key = $1 and oauth2 is null)`,
    params: [accountKey],
  }
}

function open(sealed: unknown, sealer: Sealer, context: string): KeptToken | null {
  if (typeof sealed !== 'string') return null
  try {
    return JSON.parse(sealer.open(sealed, context)) as KeptToken
  } catch {
    // A new one costs a request; the settings of an account that cannot be opened are told elsewhere.
    return null
  }
}
