/** SIGKILL while a large file goes to its store: the message is sent once, and one row knows of all that may lie there. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type HttpSink, startHttpSink } from '../support/http-sink.js'
import { readDatabase } from '../support/ledger.js'
import { openWorld, until, type World } from '../support/world.js'

vi.setConfig({ testTimeout: 90_000 })

const content = Buffer.alloc(300_000, 'abc')
const attachments = [{ filename: 'f.bin', storage_path: `base64:${content.toString('base64')}` }]

describe.each(['sqlite', 'postgres'] as const)('killed while it uploads, on %s', dialect => {
  let world: World
  let s3: HttpSink
  beforeAll(async () => {
    s3 = await startHttpSink(() => ({ hang: 'headers' }))
    world = await openWorld(dialect)
    await world.start()
    await world.account()
  })
  afterAll(async () => {
    await world?.close()
    await s3?.close()
  })

  it('the upload is made again to the same place, and nothing is in doubt', async () => {
    const storage_config = { endpoint: s3.url, access_key_id: 'A', secret_access_key: 'S' }
    const large_file_config = {
      enabled: true,
      max_size_mb: 0.1,
      action: 'rewrite',
      storage_url: 's3://b',
      storage_config,
    }
    const set = await world.call('POST', '/tenant', { id: 'default', large_file_config })
    expect(set.status).toBe(200)
    await world.submit(['m1'], { fields: { attachments } })
    await s3.waitFor(1)
    world.process.kill('SIGKILL')
    await world.process.exited
    const rows = () => readDatabase(world.databaseUrl, 'select id, path, state from offloads')
    expect(await rows()).toMatchObject([{ state: 'uploading' }])
    s3.answer(() => ({ status: 200 }))
    await world.start()
    await world.drained()
    expect(world.ledger.deliveries().get('m1')).toBe(1)
    expect((await world.ledger.balance(world.databaseUrl)).doubts).toEqual([])
    const [row, ...others] = await until('one row', rows)
    expect([row!.state, others]).toEqual(['stored', []])
    const places = s3.requests.map(({ method, path }) => `${method} ${path.split('?')[0]}`)
    expect([...new Set(places)]).toEqual([`PUT /b/${row!.path}`])
  })
})
