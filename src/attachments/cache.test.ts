import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, symlinkSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createFakeClock, type FakeClock } from '../../test/support/fake-clock.js'
import type { Log } from '../lib/log.js'
import { type AttachmentCache, createAttachmentCache } from './cache.js'
import { type Held, holdBuffer } from './held.js'

const MB = 1024 * 1024
const md5 = (octets: Buffer) => createHash('md5').update(octets).digest('hex')
const held = (sizeBytes: number) => {
  const content = randomBytes(sizeBytes)
  return holdBuffer(content, md5(content))
}

let dir: string
let clock: FakeClock
let warnings: string[]
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gmp-cache-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  // The disk's times are the system's.
  clock = createFakeClock(Date.now())
  warnings = []
})

function cache(options: Partial<Parameters<typeof createAttachmentCache>[0]> = {}): AttachmentCache {
  const log: Log = { debug() {}, info() {}, warning: message => void warnings.push(message), error() {} }
  const config = {
    diskDir: dir,
    memoryMaxBytes: 4 * MB,
    memoryTtlMs: 1_000,
    diskMaxBytes: 10 * MB,
    diskTtlMs: 60_000,
    diskThresholdBytes: 100_000,
    ...options,
  }
  return createAttachmentCache(config, { clock, log })
}

/** Of its octets, for expect() takes seconds to compare a megabyte. */
async function md5Of(found: Held | null): Promise<string | null> {
  if (found === null) return null
  const hash = createHash('md5')
  if (Buffer.isBuffer(found.content)) return hash.update(found.content).digest('hex')
  for await (const piece of found.content.open() as AsyncIterable<Buffer>) hash.update(piece)
  found.release()
  return hash.digest('hex')
}

async function files(): Promise<string[]> {
  const folders = await readdir(dir)
  return (
    await Promise.all(folders.map(async each => (await readdir(join(dir, each))).map(name => join(dir, each, name))))
  ).flat()
}

describe('the attachment cache', () => {
  it.each([
    ['small ones from memory', 1_000, 0],
    ['large ones from the disk', 300_000, 1],
  ])('gives back %s, to their tenant alone', async (_, sizeBytes, onDisk) => {
    const tested = cache()
    const given = held(sizeBytes)
    await tested.put('acme', given)
    expect(await md5Of(await tested.get('acme', given.md5))).toBe(given.md5)
    expect(await tested.get('other', given.md5)).toBeNull()
    expect(await files()).toHaveLength(onDisk)
    expect(tested.stats()).toMatchObject({ hits: 1, misses: 1 })
  })

  it('what is on the disk survives the process, what is in memory does not', async () => {
    const [small, large] = [held(1_000), held(300_000)]
    const before = cache()
    await before.put('acme', small)
    await before.put('acme', large)
    const after = cache()
    expect(await md5Of(await after.get('acme', large.md5))).toBe(large.md5)
    expect(await after.get('acme', small.md5)).toBeNull()
  })

  it('a damaged file is noticed, removed and told, before a restart and after', async () => {
    const given = held(300_000)
    const tested = cache()
    await tested.put('acme', given)
    const [path] = await files()
    await writeFile(path!, randomBytes(300_000))
    // Another time of change, however coarse the disk's clock.
    await utimes(path!, new Date(), new Date(Date.now() - 5_000))
    expect(await tested.get('acme', given.md5)).toBeNull()
    expect(await files()).toEqual([])
    expect(warnings).toEqual([expect.stringContaining('damaged')])

    await tested.put('acme', given)
    await writeFile((await files())[0]!, randomBytes(300_000))
    expect(await cache().get('acme', given.md5)).toBeNull()
  })

  it.each([
    ['a FIFO', (path: string) => execFileSync('mkfifo', [path])],
    ['a link', (path: string) => symlinkSync(join(dir, 'elsewhere'), path)],
    ['a directory', (path: string) => mkdirSync(path)],
  ])('%s in the place of a file counts as not cached', async (_, put) => {
    const given = held(300_000)
    const tested = cache()
    await tested.put('acme', given)
    const [path] = await files()
    await rename(path!, join(dir, 'elsewhere'))
    put(path!)
    expect(await tested.get('acme', given.md5)).toBeNull()
    expect(warnings).toEqual([expect.stringContaining('could not be read')])
  })

  it('each tier has its time', async () => {
    const tested = cache()
    const [small, large] = [held(1_000), held(300_000)]
    await tested.put('acme', small)
    await tested.put('acme', large)
    await clock.advance(2_000)
    expect(await tested.get('acme', small.md5)).toBeNull()
    expect(await md5Of(await tested.get('acme', large.md5))).not.toBeNull()
    await clock.advance(60_000)
    expect(await tested.get('acme', large.md5)).toBeNull()
  })

  it('the disk tier keeps its size: the one not used for longest goes, and who reads one reads on', async () => {
    const tested = cache({ diskMaxBytes: 1 * MB })
    const all = [held(400_000), held(400_000), held(400_000)]
    await tested.put('acme', all[0]!)
    await clock.advance(10)
    await tested.put('acme', all[1]!)
    await clock.advance(10)
    const reading = await tested.get('acme', all[0]!.md5)
    await tested.put('acme', all[2]!)
    expect(await tested.get('acme', all[1]!.md5)).toBeNull()
    await rm((await files())[0]!)
    await rm((await files())[0]!)
    expect(await md5Of(reading)).toBe(all[0]!.md5)
  })

  it('a sweep removes what is past its time and what a crash left, and nothing that is not its own', async () => {
    const tested = cache()
    await tested.put('acme', held(300_000))
    const [path] = await files()
    const folder = join(path!, '..')
    const left = join(folder, '.part-0123456789abcdef')
    await writeFile(left, 'half')
    await utimes(left, new Date(), new Date(Date.now() - 2 * 3_600_000))
    await writeFile(join(dir, 'not-ours.txt'), 'kept')
    await clock.advance(61_000)
    await tested.sweep()
    expect((await readdir(dir)).sort()).toEqual([folder.split('/').at(-1), 'not-ours.txt'].sort())
    expect(await readdir(folder)).toEqual([])
  })

  it('all of one tenant is forgotten, in memory and on the disk, and nothing of others', async () => {
    const { forget, get, put } = cache()
    const [small, large] = [held(1_000), held(300_000)]
    for (const tenantId of ['acme', 'acme2']) for (const each of [small, large]) await put(tenantId, each)
    await forget('acme')
    const found = async (tenantId: string) => {
      const all = await Promise.all([small, large].map(each => get(tenantId, each.md5)))
      for (const each of all) each?.release()
      return all.map(each => each !== null)
    }
    expect([await found('acme'), await found('acme2')]).toEqual([
      [false, false],
      [true, true],
    ])
    expect(await readdir(dir)).toHaveLength(1)
    expect(warnings).toEqual([])
  })

  it('a disk that refuses means no cache, not a failure', async () => {
    await writeFile(join(dir, 'file'), '')
    const tested = cache({ diskDir: join(dir, 'file') })
    const given = held(300_000)
    await tested.put('acme', given)
    expect(await tested.get('acme', given.md5)).toBeNull()
    expect(warnings.length).toBeGreaterThan(0)
  })

  it('without a disk tier large ones stay in memory as far as they fit', async () => {
    const tested = cache({ diskDir: null })
    const [fits, tooLarge] = [held(MB), held(2 * MB)]
    await tested.put('acme', fits)
    await tested.put('acme', tooLarge)
    expect(await md5Of(await tested.get('acme', fits.md5))).toBe(fits.md5)
    expect(await tested.get('acme', tooLarge.md5)).toBeNull()
  })
})
