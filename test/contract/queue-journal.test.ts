import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  createFileJournal,
  createTableJournal,
  currentEpoch,
  type DoubtJournal,
} from '../../src/queue/doubt-journal.js'
import { openQueueRig, type QueueRig, SENT } from '../support/queue-rig.js'

const ROTATE_AFTER = 200_000

describe('the doubt journal in a file', () => {
  let dir: string
  let path: string
  const open: DoubtJournal[] = []
  const journalAt = (at = path) => {
    const journal = createFileJournal(at)
    open.push(journal)
    return journal
  }
  const files = () => readdirSync(dir).sort()

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'gmp-journal-'))
    path = join(dir, 'mail.db')
  })
  afterEach(() => {
    for (const journal of open.splice(0)) journal.close()
    rmSync(dir, { recursive: true, force: true })
  })

  it('what was appended is there for another process when append returns', async () => {
    const journal = journalAt()
    journal.append(7, 1)
    journal.append(7, 2)
    expect(await journalAt().read(7)).toEqual(new Set([1, 2]))
    expect(readFileSync(join(dir, 'mail.db-doubt.7.0'), 'utf8')).toBe('1\n2\n')
  })

  it('nothing was ever journalled: an empty answer', async () => {
    expect(await journalAt().read(7)).toEqual(new Set())
  })

  it('a settled claim is no doubt; journalled again it is one again', async () => {
    const journal = journalAt()
    for (const seq of [1, 2, 3]) journal.append(7, seq)
    journal.settled(7, [1, 3])
    expect(await journalAt().read(7)).toEqual(new Set([2]))
    journal.append(7, 3)
    expect(await journalAt().read(7)).toEqual(new Set([2, 3]))
    expect(readFileSync(join(dir, 'mail.db-doubt.7.0'), 'utf8')).toBe('1\n2\n3\n-1\n-3\n3\n')
  })

  it('settling what was never journalled, or under another lease, writes nothing', async () => {
    const journal = journalAt()
    journal.settled(7, [1])
    expect(files()).toEqual([])
    journal.append(7, 1)
    journal.settled(7, [2])
    journal.settled(8, [1])
    expect(readFileSync(join(dir, 'mail.db-doubt.7.0'), 'utf8')).toBe('1\n')
  })

  it('each lease has its own files, also one whose number begins with another’s', async () => {
    const journal = journalAt()
    journal.append(7, 1)
    journal.append(71, 2)
    expect(await journalAt().read(7)).toEqual(new Set([1]))
    expect(await journalAt().read(71)).toEqual(new Set([2]))
    await journalAt().forget(7)
    expect(files()).toEqual(['mail.db-doubt.71.0'])
  })

  it('a new lease of the same process leaves the old one’s doubts to the rescuer', async () => {
    const journal = journalAt()
    journal.append(7, 1)
    journal.append(8, 1)
    journal.settled(8, [1])
    expect(await journalAt().read(7)).toEqual(new Set([1]))
    expect(await journalAt().read(8)).toEqual(new Set())
  })

  it('rotation keeps what is unsettled and drops the rest', async () => {
    const journal = journalAt()
    journal.append(7, 1)
    for (let seq = 2; seq <= ROTATE_AFTER / 2; seq += 1) journal.append(7, seq)
    journal.settled(
      7,
      Array.from({ length: ROTATE_AFTER / 2 - 1 }, (_, i) => i + 2),
    )
    expect(files()).toEqual(['mail.db-doubt.7.0'])
    journal.append(7, 900_001)
    journal.append(7, 900_002)
    expect(files()).toEqual(['mail.db-doubt.7.1'])
    expect(readFileSync(join(dir, 'mail.db-doubt.7.1'), 'utf8')).toBe('1\n900001\n900002\n')
    expect(await journalAt().read(7)).toEqual(new Set([1, 900_001, 900_002]))
    journal.settled(7, [1])
    expect(await journalAt().read(7)).toEqual(new Set([900_001, 900_002]))
  })

  it('a crash between the new file and the removal of the old one loses no doubt', async () => {
    const journal = journalAt()
    journal.append(7, 1)
    journal.append(7, 2)
    journal.settled(7, [2])
    // As rotation leaves it halfway: what is open stands in both.
    const next = createFileJournal(join(dir, 'next'))
    next.append(7, 1)
    next.append(7, 3)
    next.close()
    const { renameSync } = await import('node:fs')
    renameSync(join(dir, 'next-doubt.7.0'), join(dir, 'mail.db-doubt.7.1'))
    expect(await journalAt().read(7)).toEqual(new Set([1, 3]))
  })

  it('the parts are read in their order, also beyond the ninth', async () => {
    const { writeFileSync } = await import('node:fs')
    writeFileSync(join(dir, 'mail.db-doubt.7.9'), '1\n')
    writeFileSync(join(dir, 'mail.db-doubt.7.10'), '-1\n2\n')
    expect(await journalAt().read(7)).toEqual(new Set([2]))
  })

  it('forgetting removes the files, also of the lease being written, which may go on', async () => {
    const journal = journalAt()
    journal.append(7, 1)
    await journal.forget(7)
    expect(files()).toEqual([])
    journal.append(7, 2)
    expect(await journalAt().read(7)).toEqual(new Set([2]))
  })

  it('is for nobody else’s eyes', async () => {
    const { statSync } = await import('node:fs')
    journalAt().append(7, 1)
    expect(statSync(join(dir, 'mail.db-doubt.7.0')).mode & 0o777).toBe(0o600)
  })

  it('a place that cannot be written makes append throw, so that the dot is not sent', () => {
    expect(() => journalAt(join(dir, 'nowhere', 'mail.db')).append(7, 1)).toThrow(/ENOENT/)
  })

  it.runIf(process.platform === 'linux')('a full disk makes append throw, and settled not', async () => {
    const { symlinkSync } = await import('node:fs')
    symlinkSync('/dev/full', join(dir, 'mail.db-doubt.7.0'))
    const journal = journalAt()
    expect(() => journal.append(7, 1)).toThrow(/ENOSPC/)
    expect(() => journal.settled(7, [1])).not.toThrow()
  })
})

describe('the doubt journal in a table', () => {
  let rig: QueueRig
  beforeAll(async () => {
    rig = await openQueueRig('postgres')
  })
  beforeEach(async () => {
    await rig.clear()
    await rig.lease({ id: 7 })
    await rig.lease({ id: 8 })
  })
  afterAll(() => rig.temp.drop())

  it('is there when append resolves', async () => {
    const journal = createTableJournal(rig.db, () => rig.now)
    await Promise.all([journal.append(7, 1), journal.append(7, 2), journal.append(8, 3)])
    expect(await createTableJournal(rig.db, () => rig.now).read(7)).toEqual(new Set([1, 2]))
  })

  it('what comes together goes in one statement', async () => {
    let units = 0
    const counting = createTableJournal(
      {
        ...rig.db,
        writeRelaxed: unit => {
          units += 1
          return rig.db.writeRelaxed(unit)
        },
      },
      () => rig.now,
    )
    await Promise.all(Array.from({ length: 50 }, (_, i) => counting.append(7, i)))
    expect(units).toBe(1)
    expect((await counting.read(7)).size).toBe(50)
  })

  it('under a lease that has ended nothing is written and no dot may be sent', async () => {
    const journal = createTableJournal(rig.db, () => rig.now)
    await rig.exec('update leases set until = 0 where id = 8')
    const results = await Promise.allSettled([journal.append(7, 1), journal.append(8, 2)])
    expect(results.map(each => each.status)).toEqual(['fulfilled', 'rejected'])
    expect(await journal.read(8)).toEqual(new Set())
  })

  it('appending twice is no error', async () => {
    const journal = createTableJournal(rig.db, () => rig.now)
    await journal.append(7, 1)
    await Promise.all([journal.append(7, 1), journal.append(7, 1)])
    expect(await journal.read(7)).toEqual(new Set([1]))
  })

  it('a database that is away rejects every append of the bunch, and the next ones are tried anew', async () => {
    let away = true
    const journal = createTableJournal(
      {
        ...rig.db,
        writeRelaxed: unit => (away ? Promise.reject(new Error('away')) : rig.db.writeRelaxed(unit)),
      },
      () => rig.now,
    )
    const results = await Promise.allSettled([journal.append(7, 1), journal.append(7, 2)])
    expect(results.map(each => each.status)).toEqual(['rejected', 'rejected'])
    away = false
    await journal.append(7, 3)
    expect(await journal.read(7)).toEqual(new Set([3]))
  })

  it('the settle ends the doubt in its own transaction', async () => {
    const journal = createTableJournal(rig.db, () => rig.now)
    const account = await rig.account()
    const lease = await rig.lease()
    await rig.add(account, 2)
    const claims = await rig.claim(account, lease)
    for (const { seq } of claims) await journal.append(lease, seq)
    await rig.settle([claims[0]!], SENT)
    expect(await journal.read(lease)).toEqual(new Set([claims[1]!.seq]))
  })

  it('forgetting takes the lease’s entries only', async () => {
    const journal = createTableJournal(rig.db, () => rig.now)
    await journal.append(7, 1)
    await journal.append(8, 1)
    await journal.forget(7)
    expect(await journal.read(7)).toEqual(new Set())
    expect(await journal.read(8)).toEqual(new Set([1]))
  })

  it('the epoch is the same for all who ask, until a crash of the server', async () => {
    const epoch = await currentEpoch(rig.db)
    expect(epoch).toMatch(/^postgres [0-9a-f-]{36}$/)
    expect(await currentEpoch(rig.db)).toBe(epoch)
  })
})
