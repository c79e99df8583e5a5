import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { beforeEach, expect, it, onTestFinished } from 'vitest'
import { spool } from './spool.js'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gmp-spool-'))
  onTestFinished(() => rm(dir, { recursive: true }))
})
const options = (maxBytes = 10_000_000) => ({ dir, maxBytes, signal: new AbortController().signal })
const pieces = (octets: Buffer) => Readable.from([octets.subarray(0, 1_000), octets.subarray(1_000)])

it('a small one stays in memory, a large one goes to a file without a name that many can read', async () => {
  const small = randomBytes(200_000)
  const inMemory = await spool({ sizeBytes: small.length, body: pieces(small) }, options())
  expect(inMemory.content).toEqual(small)

  const large = randomBytes(3_000_000)
  const held = await spool({ sizeBytes: null, body: pieces(large) }, options())
  expect(held).toMatchObject({ sizeBytes: large.length, md5: createHash('md5').update(large).digest('hex') })
  expect(await readdir(dir)).toEqual([])
  const { content } = held
  if (Buffer.isBuffer(content)) throw new Error('not in a file')
  const read = async () => {
    const all: Buffer[] = []
    for await (const piece of content.open() as AsyncIterable<Buffer>) all.push(piece)
    return Buffer.concat(all)
  }
  const copies = await Promise.all([read(), read(), read()])
  expect(copies.every(each => each.equals(large))).toBe(true)
  held.release()
})

it.each([
  ['announced', 300_000],
  ['not announced', null],
])('one over the cap is refused and its source closed: %s', async (_, sizeBytes) => {
  const body = pieces(randomBytes(300_000))
  await expect(spool({ sizeBytes, body }, options(100_000))).rejects.toMatchObject({
    kind: 'permanent',
    message: expect.stringContaining('no more than 0.1 MB'),
  })
  expect(body.destroyed).toBe(true)
})

it('one that ends early may be whole the next time', async () => {
  const body = pieces(randomBytes(5_000))
  await expect(spool({ sizeBytes: 6_000, body }, options())).rejects.toMatchObject({
    kind: 'transient',
    message: 'it ended after 5000 of 6000 octets',
  })
})

it('a directory that went bad is named, and may be mended', async () => {
  const file = join(dir, 'file')
  await writeFile(file, '')
  const spooled = spool({ sizeBytes: null, body: pieces(randomBytes(300_000)) }, { ...options(), dir: file })
  await expect(spooled).rejects.toMatchObject({
    message: 'it cannot be kept until it is sent: GMP_SPOOL_DIR cannot be written (EEXIST)',
    kind: 'transient',
  })
})

it('a signal ends a source that stalls', async () => {
  const abort = new AbortController()
  const body = new Readable({ read() {} })
  const spooling = spool({ sizeBytes: null, body }, { ...options(), signal: abort.signal })
  abort.abort()
  await expect(spooling).rejects.toMatchObject({ kind: 'transient' })
  expect(body.destroyed).toBe(true)
})
