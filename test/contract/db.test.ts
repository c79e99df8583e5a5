import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keysParam, rowsParam } from '../../src/db/db.js'
import { migrate, migrationStatus } from '../../src/db/migrate.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

describe.each(dialects)('Db on %s', dialect => {
  let temp: TempDb
  beforeAll(async () => {
    temp = await openTempDb(dialect)
  })
  afterAll(() => temp.drop())

  it('a unit is applied whole or not at all', async () => {
    const unit = [
      { sql: 'insert into limit_scopes (scope) values ($1)', params: ['a:1'] },
      { sql: 'insert into limit_scopes (scope) values ($1)', params: ['a:1'] },
    ]
    await expect(temp.db.write(unit)).rejects.toThrow(/unique/i)
    expect(await temp.db.read({ sql: 'select * from limit_scopes', params: [] })).toEqual([])
  })

  it('a unit that fails leaves the units beside it alone', async () => {
    const insert = (scope: string) =>
      temp.db.write([{ sql: 'insert into limit_scopes (scope) values ($1)', params: [scope] }])
    const results = await Promise.allSettled([insert('a:2'), insert('a:2'), insert('a:3')])
    expect(results.map(each => each.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  it('of units that fail nothing stands, and those before, between and after them stand once', async () => {
    const insert = (scope: string) => ({ sql: 'insert into limit_scopes (scope) values ($1)', params: [scope] })
    const units = [['b:1'], ['b:2', 'b:2'], ['b:3'], ['b:4', 'b:4'], ['b:2', 'b:4']]
    const results = await Promise.allSettled(units.map(scopes => temp.db.write(scopes.map(insert))))
    expect(results.map(each => each.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'])
    const rows = await temp.db.read({
      sql: "select scope from limit_scopes where scope like 'b:%' order by 1",
      params: [],
    })
    expect(rows.map(row => row.scope)).toEqual(['b:1', 'b:2', 'b:3', 'b:4'])
  })

  it('a statement that failed at its first use works at the next, beside others of its unit', async () => {
    const unit = (given: string) => [
      { sql: "insert into limit_scopes (scope) values ('once') on conflict do nothing", params: [] },
      {
        sql: 'select @least(g.n, 9) as least from @rows($1: n bigint, t text) g where g.t is not null',
        params: [given],
      },
    ]
    await expect(temp.db.write(unit('no JSON'))).rejects.toThrow()
    const rows = [
      { n: 12, t: 'a' },
      { n: 3, t: null },
    ]
    const [, answered] = await temp.db.write(unit(rowsParam(rows)))
    expect(answered!.map(row => Number(row.least))).toEqual([9])
  })

  it('a statement answers the same however often it was used, and its plan made anew', async () => {
    for (let n = 0; n < 130; n += 1) {
      const [first, second] = await temp.db.writeRelaxed([
        { sql: 'select g.n + 1 as next from @rows($1: n bigint) g', params: [rowsParam([{ n }])] },
        { sql: "select 'x' as letter, null as none", params: [] },
      ])
      expect([...first!, ...second!].map(row => ({ ...row }))).toEqual([{ next: n + 1 }, { letter: 'x', none: null }])
    }
  })

  it('rows cross as one parameter with their types, quotes, nulls and non-ASCII intact', async () => {
    const given = [
      { a: `it's "quoted" \\ ünï 😀`, n: 9_007_199_254_740_000 },
      { a: null, n: 0 },
    ]
    const rows = await temp.db.read({
      sql: 'select g.a, g.n from @rows($1: a text, n bigint) g order by g.n desc',
      params: [rowsParam(given)],
    })
    expect(rows.map(row => ({ ...row }))).toEqual(given)
  })

  it.each([0, 1, 15, 16, 17, 100])(
    'a statement with %i rows of its own takes each once, with its types',
    async count => {
      const rows = Array.from({ length: count }, (_, n) => ({
        n,
        s: `each '${count}' ${n} 😀`,
        x: n % 2 === 0 ? null : undefined,
      }))
      const [inserted] = await temp.db.write([
        {
          sql: `insert into meta (key, value) select g.s, $1 || cast(coalesce(g.x, g.n) as integer) from @each(s text, n bigint, x bigint) g
          where true on conflict (key) do nothing returning key, value`,
          params: ['n'],
          rows,
        },
      ])
      const answered = new Map(inserted!.map(row => [row.key, row.value]))
      expect(inserted).toHaveLength(count)
      expect(answered).toEqual(new Map(rows.map(({ n, s }) => [s, `n${n}`])))
    },
  )
  it('whole numbers of its own rows cross to the last digit', async () => {
    const numbers = [0, -1, 2 ** 32, -(2 ** 32) - 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]
    const [inserted] = await temp.db.write([
      {
        sql: `insert into meta (key, value) select 'number ' || cast(g.n as bigint), '' from @each(n bigint) g
          where true returning key`,
        params: [],
        rows: numbers.map(n => ({ n })),
      },
    ])
    expect(new Set(inserted!.map(row => row.key))).toEqual(new Set(numbers.map(n => `number ${n}`)))
  })

  it('keys cross as one parameter, to the last digit; none is none', async () => {
    const keysOf = (keys: readonly number[]) =>
      temp.db.read({ sql: 'select g.key from @keys($1) g order by g.key', params: [keysParam(keys)] })
    expect((await keysOf([9_007_199_254_740_991, 1])).map(row => row.key)).toEqual([1, 9_007_199_254_740_991])
    expect(await keysOf([])).toEqual([])
  })

  it('processes that start at once on an empty database migrate it together', async () => {
    const temp = await openTempDb(dialect, { migrated: false })
    try {
      const results = await Promise.all([migrate(temp.db), migrate(temp.db), migrate(temp.db)])
      expect(results.every(status => status.current === status.latest)).toBe(true)
    } finally {
      await temp.drop()
    }
  })

  it('a database with the tables of another program is refused in one line', async () => {
    const temp = await openTempDb(dialect, { migrated: false })
    try {
      await temp.db.write([{ sql: 'create table messages (id text)', params: [] }])
      await expect(migrate(temp.db)).rejects.toThrow(/tables of another program/)
    } finally {
      await temp.drop()
    }
  })

  it('migrating again changes nothing', async () => {
    const status = await migrate(temp.db)
    expect(status.current).toBe(status.latest)
  })

  it('a newer schema than the code is refused in one line', async () => {
    await temp.db.write([{ sql: "update meta set value = '999' where key = 'schema_version'", params: [] }])
    await expect(migrate(temp.db)).rejects.toThrow(/newer than this version/)
    expect((await migrationStatus(temp.db)).current).toBe(999)
  })
})
