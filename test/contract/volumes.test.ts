/** Volumes in the database: whose is used, what config.ini makes of them, what is known at submission. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { volumeProblem } from '../../src/service/volume-problem.js'
import { createKnownVolumes } from '../../src/volumes/known.js'
import { seedVolumes } from '../../src/volumes/seed.js'
import {
  deleteVolume,
  findVolume,
  listVolumes,
  resolveVolumes,
  saveVolume,
  type VolumePlace,
} from '../../src/volumes/store.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

const SECRET = `hunter2"with} \${signs`

describe.each(dialects)('volumes on %s', dialect => {
  let http: HttpApp
  const log: string[] = []
  beforeAll(async () => {
    http = await openHttpApp(dialect)
    for (const tenant_id of ['acme', 'other']) {
      await http.addTenant(tenant_id)
      for (const id of ['main', 'second']) {
        await http.call('POST', '/account', { body: { id, tenant_id, host: 'h' } })
      }
    }
    await http.call('POST', '/account', { body: { id: 'only', tenant_id: 'acme', host: 'h' } })
  })
  afterAll(() => http.close())
  beforeEach(async () => {
    log.length = 0
    await http.temp.db.write([{ sql: 'delete from volumes', params: [] }])
  })

  const place = (name: string, tenantId: string | null = null, accountId: string | null = null): VolumePlace => ({
    tenantId,
    accountId,
    name,
  })
  const save = (at: VolumePlace, config: Record<string, unknown> = {}) =>
    saveVolume(http.temp.db, http.sealer, at, () => ({ backend: 's3', config, trusted: true, fromConfig: false }), {
      now: 1_000,
    })
  const rows = async () => (await http.temp.db.read({ sql: 'select * from volumes order by key', params: [] })) as any[]
  const seed = (lines: Record<string, string>, variables: Record<string, string> = {}) => {
    const noting = {
      ...silentLog,
      warning: (line: string) => void log.push(line),
      error: (line: string) => void log.push(line),
    }
    const deps = { db: http.temp.db, sealer: http.sealer, log: noting, volumeProblem }
    return seedVolumes(deps, { lines, variables }, 5_000)
  }
  const all = () => listVolumes(http.temp.db, http.sealer, null)

  it('a message uses the volume of its account, else of its tenant, else the shared one', async () => {
    await save(place('files'), { of: 'all' })
    await save(place('files', 'acme'), { of: 'acme' })
    await save(place('files', 'acme', 'main'), { of: 'main' })
    await save(place('private', 'acme', 'main'), { of: 'private' })
    const ask = (tenantId: string | null, accountId: string | null, name: string) => ({ tenantId, accountId, name })
    const wanted = [
      ask('acme', 'main', 'files'),
      ask('acme', 'second', 'files'),
      ask('other', 'main', 'files'),
      ask(null, null, 'files'),
      ask('acme', 'main', 'private'),
      ask('acme', 'second', 'private'),
      ask('acme', null, 'private'),
      ask('other', 'main', 'private'),
      ask('acme', 'main', 'nothing'),
    ]
    const found = await resolveVolumes(http.temp.db, http.sealer, wanted)
    expect(found.map(each => each?.config.of ?? null)).toEqual([
      'main',
      'acme',
      'all',
      'all',
      'private',
      null,
      null,
      null,
      null,
    ])
    const known = createKnownVolumes({ db: http.temp.db, clock: http.clock })
    expect(await known.exist(wanted.map(each => ({ ...each, tenantId: each.tenantId ?? 'default' })))).toEqual(
      found.map(each => each !== null),
    )
    const names = async (owner: Parameters<typeof listVolumes>[2]) =>
      (await listVolumes(http.temp.db, http.sealer, owner)).map(each => each.config.of)
    expect(await names(null)).toEqual(['all', 'acme', 'main', 'private'])
    expect(await names({ tenantId: null, accountId: null })).toEqual(['all'])
    expect(await names({ tenantId: 'acme', accountId: null })).toEqual(['all', 'acme', 'main', 'private'])
    expect(await names({ tenantId: 'acme', accountId: 'second' })).toEqual(['all', 'acme'])
    expect(await names({ tenantId: 'other', accountId: 'main' })).toEqual(['all'])
  })

  it('a name is there once for each owner, also when two make it at once', async () => {
    const saved = await Promise.all([
      save(place('a')),
      save(place('a')),
      save(place('a', 'acme')),
      save(place('a', 'acme')),
    ])
    expect(saved.toSorted()).toEqual(['changed', 'changed', 'created', 'created'])
    expect(await rows()).toHaveLength(2)
    expect(await deleteVolume(http.temp.db, place('a', 'other'))).toBe(false)
    expect(await deleteVolume(http.temp.db, place('a'))).toBe(true)
    expect((await all()).map(each => each.tenantId)).toEqual(['acme'])
  })

  it('no owner, no volume', async () => {
    expect([await save(place('a', 'nowhere')), await save(place('a', 'other', 'only'))]).toEqual([
      'no_owner',
      'no_owner',
    ])
    expect(await rows()).toEqual([])
  })

  it('goes with its account, and with its tenant', async () => {
    await http.addTenant('gone')
    await http.call('POST', '/account', { body: { id: 'main', tenant_id: 'gone', host: 'h' } })
    for (const at of [place('v'), place('v', 'gone'), place('v', 'gone', 'main'), place('v', 'acme', 'main')])
      await save(at)
    await http.call('DELETE', '/account/main?tenant_id=gone')
    expect((await all()).map(each => [each.tenantId, each.accountId])).toEqual([
      [null, null],
      ['acme', 'main'],
      ['gone', null],
    ])
    await http.call('DELETE', '/tenant/gone')
    expect((await all()).map(each => each.tenantId)).toEqual([null, 'acme'])
  })

  it('the config is sealed as a whole, and opens only in its own place', async () => {
    await save(place('files', 'acme'), { bucket: 'the-bucket', secret_access_key: SECRET })
    await save(place('files', 'other'), { bucket: 'b' })
    const [mine] = await rows()
    expect(mine.config).toMatch(/^ENC:/)
    expect(JSON.stringify(await rows())).not.toMatch(/hunter2|the-bucket/)
    expect((await findVolume(http.temp.db, http.sealer, place('files', 'acme')))?.config.secret_access_key).toBe(SECRET)
    await http.temp.db.write([
      { sql: "update volumes set config = $1 where tenant_id = 'other'", params: [mine.config] },
    ])
    await expect(findVolume(http.temp.db, http.sealer, place('files', 'other'))).rejects.toThrow(/altered|elsewhere/)
  })

  describe('known at submission', () => {
    it('a yes is remembered for a second, a no is not', async () => {
      const known = createKnownVolumes({ db: http.temp.db, clock: http.clock })
      const ask = async () => (await known.exist([{ tenantId: 'acme', accountId: 'main', name: 'late' }]))[0]
      expect(await ask()).toBe(false)
      await save(place('late'))
      expect(await ask()).toBe(true)
      await deleteVolume(http.temp.db, place('late'))
      expect(await ask()).toBe(true)
      await http.clock.advance(1_000)
      expect(await ask()).toBe(false)
      await save(place('late'))
      expect(await ask()).toBe(true)
      await deleteVolume(http.temp.db, place('late'))
      known.forget()
      expect(await ask()).toBe(false)
    })

    it('asks the database once for all that it does not know, and not for what it does', async () => {
      await save(place('a'))
      await save(place('b', 'acme'))
      let queries = 0
      const db = {
        ...http.temp.db,
        read(...given: Parameters<typeof http.temp.db.read>) {
          queries += 1
          return http.temp.db.read(...given)
        },
      }
      const known = createKnownVolumes({ db, clock: http.clock })
      const wanted = ['a', 'b', 'a'].map(name => ({ tenantId: 'acme', accountId: 'main', name }))
      expect(await known.exist(wanted)).toEqual([true, true, true])
      expect(await known.exist(wanted)).toEqual([true, true, true])
      expect(queries).toBe(1)
    })
  })

  describe('of config.ini', () => {
    const shared = {
      'volume.shared.backend': 's3',
      'volume.shared.config': `{"bucket": "b", "key": "AK", "secret": "\${S3_SECRET}"}`,
    }

    it('are made with what the environment holds, changed, and removed when they stand there no more', async () => {
      const acme = {
        'volume.my.files.backend': 'local',
        'volume.my.files.account_id': 'acme',
        'volume.my.files.config': '{"root": "/srv"}',
      }
      const account = {
        'volume.one.backend': 'webdav',
        'volume.one.account_id': 'only',
        'volume.one.config': '{"base_url": "https://dav.test/"}',
      }
      const chosen = {
        'volume.two.backend': 'http',
        'volume.two.account_id': 'other/main',
        'volume.two.config': '{"url": "https://cdn.test"}',
      }
      await seed({ ...shared, ...acme, ...account, ...chosen }, { S3_SECRET: SECRET })
      expect(await all()).toMatchObject([
        { name: 'my.files', tenantId: 'acme', accountId: null, backend: 'local', config: { root: '/srv' } },
        { name: 'one', tenantId: 'acme', accountId: 'only', config: { base_url: 'https://dav.test/' } },
        {
          name: 'shared',
          tenantId: null,
          trusted: true,
          fromConfig: true,
          // Under the names that the lines have.
          config: { bucket: 'b', key: 'AK', secret: SECRET },
        },
        { name: 'two', tenantId: 'other', accountId: 'main' },
      ])
      const before = await rows()
      await seed({ ...shared, ...acme, ...account, ...chosen }, { S3_SECRET: SECRET })
      expect(await rows()).toEqual(before)
      await seed({ ...shared, ...account }, { S3_SECRET: 'another' })
      expect((await all()).map(each => [each.name, each.config.secret])).toEqual([
        ['one', undefined],
        ['shared', 'another'],
      ])
      expect(log).toEqual([])
      await seed({})
      expect(await all()).toEqual([])
    })

    it('one made by the API is neither replaced nor removed', async () => {
      await save(place('shared'), { bucket: 'by-rest' })
      await seed(shared, { S3_SECRET: 's' })
      expect(await all()).toMatchObject([{ fromConfig: false, config: { bucket: 'by-rest' } }])
      expect(log).toEqual([expect.stringMatching(/volume\.shared is not used: the API made one/)])
      await seed({})
      expect(await all()).toHaveLength(1)
    })

    it('an owner that is not there yet, or not clear, is told and stops nothing', async () => {
      const later = {
        'volume.v.backend': 's3',
        'volume.v.account_id': 'later',
        'volume.v.config': '{"bucket": "b"}',
      }
      await seed(later)
      expect([await rows(), log]).toEqual([
        [],
        [expect.stringMatching(/volume\.v waits: no tenant or account is called later/)],
      ])
      await http.call('POST', '/account', { body: { id: 'later', tenant_id: 'acme', host: 'h' } })
      await seed(later)
      expect(await all()).toMatchObject([{ tenantId: 'acme', accountId: 'later' }])
      // Another tenant gives an account of its own that name: what stands keeps standing.
      await http.call('POST', '/account', { body: { id: 'later', tenant_id: 'other', host: 'h' } })
      log.length = 0
      await seed(later)
      expect(await all()).toMatchObject([{ tenantId: 'acme', accountId: 'later' }])
      expect(log).toEqual([expect.stringMatching(/volume\.v\.account_id is ambiguous: .*write tenant\/later/)])
    })

    it.each([
      [{ 'volume.a.config': '{}' }, 'volume.a.backend is missing'],
      [
        { 'volume.a.backend': 's3', 'volume.a.config': '{"secret": "hunter2"' },
        'volume.a.config is not valid JSON: it should be like {"bucket": "files"}',
      ],
      [
        { 'volume.a.backend': 's3', 'volume.a.config': '["hunter2"]' },
        'volume.a.config should be a JSON object, like {"bucket": "files"}',
      ],
      [
        { 'volume.a.backend': 's3', 'volume.a.config': `{"k": "\${NOT_SET}"}` },
        'volume.a.config needs the environment variable NOT_SET, which is not set',
      ],
      [
        { 'volume.a.backend': 's3', 'volume.a.config': `{"k": "hunter2\${A B}"}` },
        `volume.a.config has a \${…} that names no environment variable`,
      ],
      [
        { 'volume.a.backend': 's3', 'volume.a.account_id': ' ' },
        'volume.a.account_id is empty: leave the line out for a volume that all tenants share',
      ],
      [
        { 'volume.a.backend': 's3', 'volume.a.bucket': 'b' },
        'volume.a.bucket is not a known key: it should be volume.NAME.backend, .config or .account_id',
      ],
      [{ bucket: 'b' }, 'bucket is not a known key: it should be volume.NAME.backend, .config or .account_id'],
      [{ 'volume.a b.backend': 's3' }, 'volume.a b.backend has a wrong name: must be 1 to 64 of A-Z a-z 0-9 _ . -'],
      [
        { 'volume.base64.backend': 's3' },
        'volume.base64.backend has a wrong name: "base64" means something else in a storage_path; choose another name',
      ],
      [
        { 'volume.a.backend': 'ftp' },
        'volume.a.backend cannot be used: the backend should be one of s3, http, webdav, local, gcs, azure',
      ],
      [
        { 'volume.a.backend': 'memory' },
        'volume.a.backend cannot be used: the backend memory is no longer there: its files were lost with each restart; use local, or s3',
      ],
      [{ 'volume.a.backend': 's3' }, 'volume.a.config cannot be used: bucket is missing'],
      [
        { 'volume.a.backend': 's3', 'volume.a.config': '{"bucket": "b", "secret": "hunter2"}' },
        'volume.a.config cannot be used: access_key_id is missing',
      ],
      [
        { 'volume.a.backend': 'http', 'volume.a.config': '{"base_url": "https://u:hunter2@cdn.test"}' },
        'volume.a.config cannot be used: base_url has a user or password inside; they have their own keys',
      ],
      [
        { 'volume.a.backend': 'local', 'volume.a.config': '{"root": "/srv", "rot": "hunter2"}' },
        'volume.a.config cannot be used: unknown key rot: did you mean root?',
      ],
    ])('%j stops the start with one line', async (lines, sentence) => {
      await save(place('stays'))
      const error = await seed({ ...shared, ...lines } as Record<string, string>, { S3_SECRET: 's' }).catch(
        each => each,
      )
      expect([error.name, error.message]).toEqual(['ConfigError', `config.ini [volumes] ${sentence}`])
      expect((await all()).map(each => each.name)).toEqual(['stays'])
    })
  })
})
