/** A backup with any octets changed, cut off or put in: it is restored, or refused in one sentence. Nothing else comes of it. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CopyRefused } from '../../src/backup/errors.js'
import { restoreBackup } from '../../src/backup/restore.js'
import { takeBackup } from '../../src/backup/take.js'
import { openTempDb, type TempDb } from '../support/temp-db.js'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const times = Number(process.env.FUZZ_TIMES ?? 1)
console.info(`FUZZ_SEED=${seed} FUZZ_TIMES=${times}`)

let temp: TempDb
let whole: Buffer
beforeAll(async () => {
  temp = await openTempDb('sqlite')
  const file = join(temp.dir, 'whole')
  const manifest = { format: 1, made_at: '2026-01-01T00:00:00Z', version: '1.0.0', instance: 'default' } as const
  await takeBackup(temp.url, file, { manifest, files: { 'config.ini': '[server]\nport = 1\n' } }, { reserveBytes: 0 })
  whole = readFileSync(file)
})
afterAll(() => temp.drop())

/** What became of it. The database that is to be replaced is there again when it was refused. */
async function restore(octets: Buffer): Promise<'restored' | 'refused'> {
  const file = join(temp.dir, 'changed')
  const dir = join(temp.dir, 'target')
  const path = join(dir, 'mail.db')
  mkdirSync(dir)
  writeFileSync(file, octets)
  writeFileSync(path, 'the one before')
  try {
    await restoreBackup(file, { path, dir, keys: null }, { replace: true, now: new Date(0) })
    return 'restored'
  } catch (error) {
    if (!(error instanceof CopyRefused)) throw error
    expect(error.message).not.toMatch(/[\r\n]/)
    expect(readFileSync(path, 'utf8')).toBe('the one before')
    expect(existsSync(`${path}.restoring`)).toBe(false)
    return 'refused'
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

it('of any page nothing is left at its beginning, or near its end', async () => {
  const PAGE = 8192
  const seen = new Set<string>()
  for (let page = 0; page < whole.length; page += PAGE) {
    for (const at of [page, page + PAGE - 32]) {
      seen.add(await restore(Buffer.concat([whole.subarray(0, at), Buffer.alloc(32), whole.subarray(at + 32)])))
    }
  }
  // What lies in an empty page is nobody's.
  expect(seen).toEqual(new Set(['refused', 'restored']))
})

it(
  'whatever was changed in a backup, it is refused in a sentence or restored',
  async () => {
    expect(await restore(whole)).toBe('restored')
    const pieces = [
      'SQLite format 3\0',
      'manifest',
      '{"format":',
      '"made_at"',
      'schema_version',
      'release_needed',
      'backup',
    ]
    // The header, the schema and the manifest more often than the rest: where the words stand.
    const places = ['SQLite', ...pieces.slice(1)].map(piece => whole.lastIndexOf(piece)).filter(at => at >= 0)
    const near = fc.tuple(fc.constantFrom(0, ...places), fc.nat(120)).map(([at, further]) => at + further)
    const change = fc.record({
      at: fc.oneof(near, fc.nat(whole.length - 1)),
      octets: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 6 }).map(each => Buffer.from(each)),
        fc.constantFrom(...pieces, '2', '\0', '\xff\xff').map(each => Buffer.from(each, 'latin1')),
      ),
    })
    const cut = fc.option(fc.nat(whole.length), { freq: 5, nil: whole.length })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), cut, async (changes, length) => {
        const changed = Buffer.from(whole)
        for (const { at, octets } of changes) octets.copy(changed, Math.min(at, changed.length - octets.length))
        await restore(changed.subarray(0, length))
      }),
      { seed, numRuns: 40 * times },
    )
  },
  30_000 * times,
)
