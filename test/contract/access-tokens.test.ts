/** Access tokens of accounts: kept, shared between instances, renewed by one of them. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AccountPatch, deleteAccount, getAccount, saveAccount } from '../../src/accounts/store.js'
import { DatabaseUnavailable, type Db, type Statement } from '../../src/db/db.js'
import type { Log } from '../../src/lib/log.js'
import { createSealer } from '../../src/lib/seal.js'
import type { Grant, GrantAnswer } from '../../src/oauth/grant.js'
import { createTokenSource, type TokenOwner, type TokenSource } from '../../src/oauth/token-source.js'
import { createTokenStore } from '../../src/oauth/token-store.js'
import { ensureDefaultTenant } from '../../src/tenants/store.js'
import { createFakeClock, type FakeClock } from '../support/fake-clock.js'
import { silentLog } from '../support/silent-log.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

const sealer = createSealer(Buffer.alloc(32, 5))
const HOUR = 3_600_000

describe.each(dialects)('access tokens on %s', dialect => {
  let temp: TempDb
  let clock: FakeClock
  let owner: TokenOwner
  let accounts = 0
  const opened: TokenSource[] = []
  /** What the provider was asked with, and what it answers next. */
  let asked: Grant[]
  let answer: (grant: Grant) => GrantAnswer | Promise<GrantAnswer>

  beforeAll(async () => {
    temp = await openTempDb(dialect)
    await ensureDefaultTenant(temp.db, 0)
  })
  afterAll(() => temp.drop())

  beforeEach(async () => {
    for (const each of opened.splice(0)) await each.close()
    clock = createFakeClock()
    asked = []
    answer = () => token(`access-${asked.length}`)
    const id = `a${++accounts}`
    const saved = await saveAccount(
      temp.db,
      sealer,
      { tenantId: 'default', id },
      { host: 'h' },
      { now: 0, trusted: true },
    )
    if (saved.kind !== 'created') throw new Error(saved.kind)
    owner = {
      key: saved.key,
      context: `account:default/${id}:access_token`,
      tenantId: 'default',
      accountId: id,
      grant: {
        tokenUrl: 'https://login.test/token',
        trusted: true,
        grantType: 'refresh_token',
        clientId: 'app',
        clientSecret: 'secret',
        refreshToken: 'refresh-0',
        scope: null,
        clientAuthMethod: 'client_secret_post',
      },
    }
  })

  /** One as each instance has its own. */
  function instance({ db = temp.db, log = silentLog }: { db?: Db; log?: Log } = {}): TokenSource {
    const endpoint = {
      async ask(grant: Grant) {
        asked.push(grant)
        return answer(grant)
      },
    }
    const source = createTokenSource({ store: createTokenStore(db, sealer), endpoint, clock, log })
    opened.push(source)
    return source
  }

  /** The database, which takes no writes while it is away. */
  function flakyDb(): { away: boolean; readonly db: Db } {
    const flaky = {
      away: false,
      db: {
        ...temp.db,
        read: (statement: Statement) => temp.db.read(statement),
        write: (unit: readonly Statement[]) =>
          flaky.away ? Promise.reject(new DatabaseUnavailable('away')) : temp.db.write(unit),
      },
    }
    return flaky
  }

  const withGrant = (changes: Partial<Grant>): TokenOwner => ({ ...owner, grant: { ...owner.grant, ...changes } })
  const refreshTokens = () => asked.map(grant => grant.refreshToken)
  const storedRow = async () =>
    (await temp.db.read({ sql: 'select * from access_tokens where account_key = $1', params: [owner.key] }))[0]

  it('many who need one at once cause one request', async () => {
    const source = instance()
    const results = await Promise.all(Array.from({ length: 20 }, () => source.get(owner)))
    expect(new Set(results.map(each => each.ok && each.token))).toEqual(new Set(['access-1']))
    expect(asked).toHaveLength(1)
    expect(await source.get(owner)).toMatchObject({ token: 'access-1', isNew: false })
  })

  it('another instance, and one that starts later, uses the same', async () => {
    await instance().get(owner)
    clock.jump(30 * 60_000)
    expect(await instance().get(owner)).toEqual({
      ok: true,
      token: 'access-1',
      isNew: false,
      about: 'the access token kept from before, for 1800 s more',
    })
    const row = (await storedRow())!
    expect(row.token).toMatch(/^ENC:/)
    expect(JSON.stringify(row)).not.toMatch(/access-1|refresh|secret/)
  })

  it('while one instance asks, the others wait for what it gets', async () => {
    const gate = createGate()
    answer = async () => {
      await gate.opened
      return token('of the first')
    }
    const [first, second] = [instance(), instance()]
    const mine = first.get(owner)
    await until(() => asked.length === 1)
    const other = second.get(owner)
    await until(() => clock.sleepers() === 1)
    gate.open()
    await mine
    await clock.advance(250)
    expect(await other).toMatchObject({ ok: true, token: 'of the first', isNew: false })
    expect(asked).toHaveLength(1)
  })

  it('an instance that died while it asked is waited for no longer than its claim', async () => {
    const store = createTokenStore(temp.db, sealer)
    await store.claim(owner, clock.now(), clock.now() + 45_000)
    const waiting = instance().get(owner)
    for (let i = 0; i < 180; i++) {
      await until(() => clock.sleepers() === 1)
      expect(asked).toHaveLength(0)
      await clock.advance(250)
    }
    expect(await waiting).toMatchObject({ ok: true, token: 'access-1' })
  })

  it('a claim of a clock that was set since holds up nobody', async () => {
    await createTokenStore(temp.db, sealer).claim(owner, clock.now() + 24 * HOUR, clock.now() + 24 * HOUR + 45_000)
    expect(await instance().get(owner)).toMatchObject({ ok: true, token: 'access-1' })
  })

  it('what comes back after another instance took over does not replace what that one got', async () => {
    const store = createTokenStore(temp.db, sealer)
    const late = await store.claim(owner, clock.now(), clock.now() + 45_000)
    clock.jump(46_000)
    expect(await instance().get(owner)).toMatchObject({ token: 'access-1' })
    if (typeof late === 'string') throw new Error(late)
    const stale = { accessToken: 'late', obtainedAt: 0, expiresAt: 9e12, refreshToken: null, request: '', origin: '' }
    expect(await store.put(owner, late.version, stale)).toBe(false)
    expect((await store.read(owner))?.token?.accessToken).toBe('access-1')
  })

  it('settings that are removed leave no token behind', async () => {
    const id = { tenantId: 'default', id: owner.accountId }
    const options = { now: 1, trusted: true }
    const set = {
      user: 'u',
      authMethod: 'oauth2',
      oauth2: { tokenUrl: 'https://x/', clientId: 'a', refreshToken: 'r' },
    }
    expect(await saveAccount(temp.db, sealer, id, set as AccountPatch, options)).toMatchObject({ kind: 'changed' })
    await instance().get(owner)
    await saveAccount(temp.db, sealer, id, { authMethod: 'password' }, options)
    expect(await storedRow()).toBeDefined()
    await saveAccount(temp.db, sealer, id, { oauth2: null }, options)
    expect(await storedRow()).toBeUndefined()
  })

  it('near its end a token is still given, and renewed once beside', async () => {
    const source = instance()
    await source.get(owner)
    clock.jump(HOUR - 300_001)
    await source.get(owner)
    expect(asked).toHaveLength(1)
    clock.jump(1)
    const given = await Promise.all(Array.from({ length: 5 }, () => source.get(owner)))
    expect(given.every(each => each.ok && each.token === 'access-1')).toBe(true)
    await until(() => asked.length === 2)
    // In the database it stands a moment before this process uses it.
    await until(async () => Number((await storedRow())!.version) === 2)
    await until(async () => {
      const next = await source.get(owner)
      return next.ok && next.token === 'access-2'
    })
    expect(asked).toHaveLength(2)
  })

  it('a short life is renewed in its last tenth', async () => {
    answer = () => ({ ...token(`access-${asked.length}`), lifeSeconds: 600 })
    const source = instance()
    await source.get(owner)
    clock.jump(539_000)
    await source.get(owner)
    expect(asked).toHaveLength(1)
    clock.jump(1000)
    await source.get(owner)
    await until(() => asked.length === 2)
  })

  it('a clock that is set ahead costs one new token, and one that is set back lengthens no life', async () => {
    const source = instance()
    await source.get(owner)
    clock.jump(HOUR)
    for (let i = 0; i < 3; i++) expect(await source.get(owner)).toMatchObject({ token: 'access-2' })
    clock.jump(-2 * HOUR)
    expect(await source.get(owner)).toMatchObject({ about: 'the access token kept from before, for 3600 s more' })
    await clock.advance(HOUR - 300_001)
    expect(await source.get(owner)).toMatchObject({ token: 'access-2' })
    expect(asked).toHaveLength(2)
    await clock.advance(300_001)
    expect(await source.get(owner)).toMatchObject({ token: 'access-3', isNew: true })
  })

  it('the life of a token that is found in the database again is no longer for it', async () => {
    const source = instance()
    await source.get(owner)
    answer = () => ({ ok: false, words: 'Token endpoint says 503' })
    clock.jump(-HOUR)
    await clock.advance(HOUR - 1000)
    // Near its end it is looked for in the database, where nothing newer stands.
    await source.get(owner)
    await until(() => asked.length === 2)
    expect(await source.get(owner)).toMatchObject({ token: 'access-1' })
    await clock.advance(1000)
    expect(await source.get(owner)).toEqual({ ok: false, words: 'Token endpoint says 503' })
  })

  it('one that is dated an hour ahead is replaced at once, and used for five minutes at most when there is no other', async () => {
    await instance().get(owner)
    clock.jump(-HOUR)
    expect(await instance().get(owner)).toMatchObject({ token: 'access-2', isNew: true })
    clock.jump(-HOUR)
    answer = () => ({ ok: false, words: 'Token endpoint says 503' })
    const late = instance()
    expect(await late.get(owner)).toMatchObject({ token: 'access-2', isNew: false })
    await clock.advance(300_000)
    expect(await late.get(owner)).toEqual({ ok: false, words: 'Token endpoint says 503' })
  })

  it('one that is dated ahead by less than clocks may differ is used as it is', async () => {
    await instance().get(owner)
    clock.jump(-60_000)
    expect(await instance().get(owner)).toMatchObject({ token: 'access-1', isNew: false })
    expect(asked).toHaveLength(1)
  })

  it('a renewal ahead of time that fails is told and tried again later, and the token used to its end', async () => {
    const warnings: string[] = []
    const source = instance({ log: { ...silentLog, warning: message => void warnings.push(message) } })
    await source.get(owner)
    clock.jump(HOUR - 200_000)
    answer = () => ({ ok: false, words: 'Token endpoint says 503' })
    await source.get(owner)
    await until(() => warnings.length === 1)
    expect(warnings[0]).toBe(
      `The token of account ${owner.accountId} of tenant default could not be renewed ahead of its end: Token endpoint says 503`,
    )
    expect(await source.get(owner)).toMatchObject({ ok: true, token: 'access-1' })
    expect(asked).toHaveLength(2)
    await clock.advance(30_000)
    await source.get(owner)
    await until(() => warnings.length === 2)
    // One that starts now finds it too, and does not fail for a provider that is away.
    expect(await instance().get(owner)).toMatchObject({ ok: true, token: 'access-1' })
    clock.jump(200_000)
    expect(await source.get(owner)).toEqual({ ok: false, words: 'Token endpoint says 503' })
    expect(await createTokenStore(temp.db, sealer).claim(owner, clock.now(), clock.now() + 1)).not.toBe('taken')
  })

  it('a refused token is replaced once, however many logins met the refusal, on all instances', async () => {
    const [first, second] = [instance(), instance()]
    await first.get(owner)
    await second.get(owner)
    const renewed = await Promise.all(Array.from({ length: 10 }, () => first.renew(owner, 'access-1')))
    expect(renewed.every(each => each.ok && each.token === 'access-2')).toBe(true)
    expect(await first.renew(owner, 'access-1')).toMatchObject({ ok: true, token: 'access-2' })
    expect(await second.renew(owner, 'access-1')).toMatchObject({ ok: true, token: 'access-2', isNew: false })
    expect(asked).toHaveLength(2)
  })

  it('a refresh token that comes in place of another is kept, by whichever instance', async () => {
    const source = instance()
    answer = () => token(`access-${asked.length}`, `refresh-${asked.length}`)
    await source.get(owner)
    await source.renew(owner, 'access-1')
    answer = () => token(`access-${asked.length}`)
    await instance().renew(owner, 'access-2')
    // One that comes without another leaves the last.
    await instance().renew(owner, 'access-3')
    expect(refreshTokens()).toEqual(['refresh-0', 'refresh-1', 'refresh-2', 'refresh-2'])
  })

  it('changed settings forget the access token, and the refresh token only when it is another grant', async () => {
    const source = instance()
    answer = () => token(`access-${asked.length}`, `rotated-${asked.length}`)
    await source.get(owner)
    await source.get(withGrant({ clientSecret: 'new secret' }))
    await source.get(withGrant({ scope: 'mail' }))
    await source.get(withGrant({ refreshToken: 'of a new consent' }))
    await source.get(withGrant({ clientId: 'other app' }))
    await source.get(withGrant({ tokenUrl: 'https://other.test/token' }))
    expect(refreshTokens()).toEqual([
      'refresh-0',
      'rotated-1',
      'rotated-2',
      'of a new consent',
      'refresh-0',
      'refresh-0',
    ])
  })

  it('a request under way when the settings change is of no use to the new ones', async () => {
    const gate = createGate()
    answer = async grant => {
      if (grant.refreshToken === 'refresh-0') await gate.opened
      return token(`for ${grant.refreshToken}`)
    }
    const source = instance()
    const before = source.get(owner)
    await until(() => asked.length === 1)
    const repaired = withGrant({ refreshToken: 'repaired' })
    const after = source.get(repaired)
    await until(() => clock.sleepers() === 1)
    gate.open()
    await before
    await clock.advance(250)
    expect(await after).toMatchObject({ ok: true, token: 'for repaired' })
    expect(await source.get(repaired)).toMatchObject({ ok: true, token: 'for repaired' })
  })

  it('what cannot be written while the database is away is kept, and written when it is back', async () => {
    const flaky = flakyDb()
    const source = instance({ db: flaky.db })
    answer = () => {
      flaky.away = true
      return token('access-1', 'the only good one')
    }
    expect(await source.get(owner)).toMatchObject({ ok: true, token: 'access-1' })
    expect((await storedRow())!.token).toBeNull()
    await until(() => clock.sleepers() === 1)
    await clock.advance(1000)
    await until(() => clock.sleepers() === 1)
    flaky.away = false
    await clock.advance(2000)
    await until(async () => (await storedRow())!.token !== null)
    answer = () => token('access-2')
    await instance().renew(owner, 'access-1')
    expect(refreshTokens()).toEqual(['refresh-0', 'the only good one'])
  })

  it('counts before it is written, and does not come after what was got with it', async () => {
    const flaky = flakyDb()
    const source = instance({ db: flaky.db })
    answer = () => {
      flaky.away = true
      return token('access-1', 'the only good one')
    }
    await source.get(owner)
    // Tries after 1, 3, 7, 15 and 31 s; the next would be at 63, and the claim ended at 45.
    for (const wait of [1, 2, 4, 8, 16, 19]) {
      await until(() => clock.sleepers() === 1)
      await clock.advance(wait * 1000)
    }
    flaky.away = false
    answer = () => token('access-2', 'the next')
    expect(await source.renew(owner, 'access-1')).toMatchObject({ ok: true, token: 'access-2' })
    await clock.advance(60_000)
    answer = () => token('access-3')
    await instance().renew(owner, 'access-2')
    expect(refreshTokens()).toEqual(['refresh-0', 'the only good one', 'the next'])
  })

  it('is written at the latest when the service stops', async () => {
    const flaky = flakyDb()
    const source = instance({ db: flaky.db })
    answer = () => {
      flaky.away = true
      return token('access-1', 'the only good one')
    }
    await source.get(owner)
    flaky.away = false
    await source.close()
    expect((await storedRow())!.token).not.toBeNull()
  })

  it('an account that is gone has no token, and leaves none', async () => {
    const source = instance()
    await source.get(owner)
    await deleteAccount(temp.db, 'default', owner.accountId)
    expect(await getAccount(temp.db, sealer, 'default', owner.accountId)).toBeNull()
    expect(await storedRow()).toBeUndefined()
    expect(await source.renew(owner, 'access-1')).toEqual({ ok: false, words: 'The account is gone' })
    expect(asked).toHaveLength(1)
  })

  it('one that was altered or moved in the database is not used', async () => {
    await instance().get(owner)
    await temp.db.write([
      {
        sql: "update access_tokens set token = 'ENC:00000000:AAAA' where account_key = $1",
        params: [owner.key],
      },
    ])
    expect(await instance().get(owner)).toMatchObject({ ok: true, token: 'access-2' })
    const { key } = owner
    expect(
      (await createTokenStore(temp.db, sealer).read({ key, context: 'account:default/other:access_token' }))?.token,
    ).toBeNull()
  })
})

function token(accessToken: string, refreshToken: string | null = null) {
  return { ok: true, accessToken, refreshToken, lifeSeconds: 3600 } as const
}

function createGate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  return { opened, open: () => open() }
}

/** Until what real databases do beside the fake clock has come about. */
async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 20_000; ; ) {
    if (await check()) return
    if (performance.now() > deadline) throw new Error('it did not come about')
    await new Promise(setImmediate)
  }
}
