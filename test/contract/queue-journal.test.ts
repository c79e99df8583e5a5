import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Db, Statement } from '../../src/db/db.js'
import { createLeaseKeeper } from '../../src/maintenance/lease-keeper.js'
import type { Claimed } from '../../src/queue/claim.js'
import {
  createFileJournal,
  createTableJournal,
  currentEpoch,
  type DoubtJournal,
} from '../../src/queue/doubt-journal.js'
import { createFakeClock } from '../support/fake-clock.js'
import { openQueueRig, type QueueRig, SENT, type TestAccount } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'

const ROTATE_AFTER = 200_000

/** A claim of this message. */
const of = (seq: number, claim = 1) => ({ seq, claim })

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
    journal.append(7, of(1))
    journal.append(7, of(2))
    expect(await journalAt().read(7)).toEqual(new Set([1, 2]))
    expect(readFileSync(join(dir, 'mail.db-doubt.7.0'), 'utf8')).toBe('1\n2\n')
  })

  it('nothing was ever journalled: an empty answer', async () => {
    expect(await journalAt().read(7)).toEqual(new Set())
  })

  it('a settled claim is no doubt; journalled again it is one again', async () => {
    const journal = journalAt()
    for (const seq of [1, 2, 3]) journal.append(7, of(seq))
    journal.settled(7, [of(1), of(3)])
    expect(await journalAt().read(7)).toEqual(new Set([2]))
    journal.append(7, of(3))
    expect(await journalAt().read(7)).toEqual(new Set([2, 3]))
    expect(readFileSync(join(dir, 'mail.db-doubt.7.0'), 'utf8')).toBe('1\n2\n3\n-1\n-3\n3\n')
  })

  it('settling what was never journalled, or under another lease, writes nothing', async () => {
    const journal = journalAt()
    journal.settled(7, [of(1)])
    expect(files()).toEqual([])
    journal.append(7, of(1))
    journal.settled(7, [of(2)])
    journal.settled(8, [of(1)])
    expect(readFileSync(join(dir, 'mail.db-doubt.7.0'), 'utf8')).toBe('1\n')
  })

  it('the result of an earlier claim, told late, ends no doubt of a later one', async () => {
    const journal = journalAt()
    journal.append(7, of(1, 10))
    journal.append(7, of(1, 11))
    journal.settled(7, [of(1, 10)])
    expect(await journalAt().read(7)).toEqual(new Set([1]))
    journal.settled(7, [of(1, 11)])
    expect(await journalAt().read(7)).toEqual(new Set())
  })

  it('each lease has its own files, also one whose number begins with another’s', async () => {
    const journal = journalAt()
    journal.append(7, of(1))
    journal.append(71, of(2))
    expect(await journalAt().read(7)).toEqual(new Set([1]))
    expect(await journalAt().read(71)).toEqual(new Set([2]))
    await journalAt().forget(7)
    expect(files()).toEqual(['mail.db-doubt.71.0'])
  })

  it('a new lease of the same process leaves the old one’s doubts to the rescuer', async () => {
    const journal = journalAt()
    journal.append(7, of(1))
    journal.append(8, of(1))
    journal.settled(8, [of(1)])
    expect(await journalAt().read(7)).toEqual(new Set([1]))
    expect(await journalAt().read(8)).toEqual(new Set())
  })

  it('rotation keeps what is unsettled and drops the rest', async () => {
    const journal = journalAt()
    journal.append(7, of(1))
    for (let seq = 2; seq <= ROTATE_AFTER / 2; seq += 1) journal.append(7, of(seq))
    journal.settled(
      7,
      Array.from({ length: ROTATE_AFTER / 2 - 1 }, (_, i) => of(i + 2)),
    )
    expect(files()).toEqual(['mail.db-doubt.7.0'])
    journal.append(7, of(900_001))
    journal.append(7, of(900_002))
    expect(files()).toEqual(['mail.db-doubt.7.1'])
    expect(readFileSync(join(dir, 'mail.db-doubt.7.1'), 'utf8')).toBe('1\n900001\n900002\n')
    expect(await journalAt().read(7)).toEqual(new Set([1, 900_001, 900_002]))
    journal.settled(7, [of(1)])
    expect(await journalAt().read(7)).toEqual(new Set([900_001, 900_002]))
  })

  it('that could not be written is of no use until it can, and goes on in a new file with all doubts', async () => {
    const journal = journalAt()
    journal.append(7, of(1))
    // The next file cannot be made: its name is taken.
    mkdirSync(join(dir, 'mail.db-doubt.7.1'))
    journal.check(7)
    for (let seq = 2; seq <= ROTATE_AFTER; seq += 1) journal.append(7, of(seq))
    expect(() => journal.append(7, of(ROTATE_AFTER + 1))).toThrow('EISDIR')
    expect(() => journal.check(7)).toThrow(/^the doubt journal cannot be written: EISDIR/)
    rmdirSync(join(dir, 'mail.db-doubt.7.1'))
    journal.check(7)
    expect(files()).toEqual(['mail.db-doubt.7.1'])
    expect((await journalAt().read(7)).size).toBe(ROTATE_AFTER)
  })

  it('a crash between the new file and the removal of the old one loses no doubt', async () => {
    const journal = journalAt()
    journal.append(7, of(1))
    journal.append(7, of(2))
    journal.settled(7, [of(2)])
    // As rotation leaves it halfway: what is open stands in both.
    const next = createFileJournal(join(dir, 'next'))
    next.append(7, of(1))
    next.append(7, of(3))
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
    journal.append(7, of(1))
    await journal.forget(7)
    expect(files()).toEqual([])
    journal.append(7, of(2))
    expect(await journalAt().read(7)).toEqual(new Set([2]))
  })

  it('is for nobody else’s eyes', async () => {
    const { statSync } = await import('node:fs')
    journalAt().append(7, of(1))
    expect(statSync(join(dir, 'mail.db-doubt.7.0')).mode & 0o777).toBe(0o600)
  })

  it('a place that cannot be written makes append throw, so that the dot is not sent', () => {
    expect(() => journalAt(join(dir, 'nowhere', 'mail.db')).append(7, of(1))).toThrow(/ENOENT/)
  })

  it.runIf(process.platform === 'linux')(
    'settles that could not be written doubt no longer than to the next entry, and what is not settled stays in doubt',
    async () => {
      const name = join(dir, 'mail.db-doubt.7.0')
      execFileSync('mkfifo', [name])
      const reader = openSync(name, constants.O_RDWR | constants.O_NONBLOCK)
      const journal = journalAt()
      for (const seq of [1, 2, 3]) journal.append(7, of(seq))
      // A pipe without a reader takes nothing.
      closeSync(reader)
      journal.settled(7, [of(1), of(2), of(3, 0)])
      journal.append(7, of(2, 2))
      expect(files()).toEqual(['mail.db-doubt.7.1'])
      expect(readFileSync(join(dir, 'mail.db-doubt.7.1'), 'utf8')).toBe('3\n2\n')
      journal.settled(7, [of(1), of(2)])
      expect(await journalAt().read(7)).toEqual(new Set([3, 2]))
    },
  )

  it.runIf(process.platform === 'linux')('a full disk makes append throw, and settled not', async () => {
    const { symlinkSync } = await import('node:fs')
    symlinkSync('/dev/full', join(dir, 'mail.db-doubt.7.0'))
    const journal = journalAt()
    expect(() => journal.append(7, of(1))).toThrow(/ENOSPC/)
    expect(() => journal.settled(7, [of(1)])).not.toThrow()
  })
})

describe('the doubt journal in a table', () => {
  let rig: QueueRig
  let account: TestAccount
  let lease: number
  beforeAll(async () => {
    rig = await openQueueRig('postgres')
  })
  beforeEach(async () => {
    await rig.clear()
    account = await rig.account()
    lease = await rig.lease()
  })
  afterAll(() => rig.temp.drop())

  const newJournal = (db = rig.db) => createTableJournal(db, () => rig.now)
  /** As another process reads it. */
  const inDoubt = (of = lease) => newJournal().read(of)
  const claims = async (count: number, under = lease) => {
    await rig.add(account, count)
    return rig.claim(account, under)
  }
  const seqs = (of: readonly Claimed[]) => new Set(of.map(each => each.seq))
  const rowCount = async () => Number((await rig.rows('select count(*) as n from doubts'))[0]!.n)

  it('is there when append resolves', async () => {
    const journal = newJournal()
    const other = await rig.lease()
    const mine = await claims(2)
    const theirs = await claims(1, other)
    await Promise.all([...mine.map(each => journal.append(lease, each)), journal.append(other, theirs[0]!)])
    expect(await inDoubt()).toEqual(seqs(mine))
    expect(await inDoubt(other)).toEqual(seqs(theirs))
  })

  it('what comes together goes in one statement and one row', async () => {
    let units = 0
    const counting: Db = {
      ...rig.db,
      writeRelaxed: unit => {
        units += 1
        return rig.db.writeRelaxed(unit)
      },
    }
    const journal = newJournal(counting)
    const mine = await claims(50)
    await Promise.all(mine.map(each => journal.append(lease, each)))
    expect(units).toBe(1)
    expect(await rowCount()).toBe(1)
    expect(await inDoubt()).toEqual(seqs(mine))
  })

  it('what the rest of a turn of the event loop asks for goes in the same row, after another one too', async () => {
    const journal = newJournal()
    const mine = await claims(4)
    const inTheSameTurn = async ([first, second]: readonly Claimed[]) => {
      const asked = journal.append(lease, first!)
      // As one socket after another is read in a turn: promises are settled between them.
      for (let hops = 0; hops < 10; hops += 1) await null
      await Promise.all([asked, journal.append(lease, second!)])
    }
    await inTheSameTurn(mine.slice(0, 2))
    await inTheSameTurn(mine.slice(2))
    expect(await rowCount()).toBe(2)
    expect(await inDoubt()).toEqual(seqs(mine))
  })

  it('under a lease that has ended nothing is written and no dot may be sent', async () => {
    const journal = newJournal()
    const ended = await rig.lease()
    const mine = await claims(1)
    const theirs = await claims(1, ended)
    await rig.exec('update leases set until = 0 where id = $1', ended)
    const results = await Promise.allSettled([journal.append(lease, mine[0]!), journal.append(ended, theirs[0]!)])
    expect(results.map(each => each.status)).toEqual(['fulfilled', 'rejected'])
    expect(await inDoubt(ended)).toEqual(new Set())
    expect(await inDoubt()).toEqual(seqs(mine))
  })

  it('appending twice is no error, and writes one entry', async () => {
    const journal = newJournal()
    const [mine] = await claims(1)
    await Promise.all([journal.append(lease, mine!), journal.append(lease, mine!)])
    await journal.append(lease, mine!)
    expect(await rowCount()).toBe(1)
    expect(await inDoubt()).toEqual(seqs([mine!]))
  })

  it('of one that was expected the entry is written already, with those that were appended in that turn', async () => {
    const journal = newJournal()
    const mine = await claims(2)
    journal.expect(lease, mine[0]!)
    await journal.append(lease, mine[1]!)
    expect(await rowCount()).toBe(1)
    expect(await inDoubt()).toEqual(seqs(mine))
    expect(journal.append(lease, mine[0]!)).toBe(undefined)
  })

  it('an append waits for an entry that was expected and is on its way', async () => {
    let arrive = () => {}
    const way = new Promise<void>(done => {
      arrive = done
    })
    const journal = newJournal({
      ...rig.db,
      writeRelaxed: async unit => {
        await way
        return rig.db.writeRelaxed(unit)
      },
    })
    const [mine] = await claims(1)
    journal.expect(lease, mine!)
    const appended = journal.append(lease, mine!)
    expect(appended).toBeInstanceOf(Promise)
    expect(await inDoubt()).toEqual(new Set())
    arrive()
    await appended
    expect(await inDoubt()).toEqual(seqs([mine!]))
    expect(await rowCount()).toBe(1)
  })

  it('one that was expected in vain is tried again at its dot, and not sent under a lease that has ended', async () => {
    let away = true
    const journal = newJournal({
      ...rig.db,
      writeRelaxed: unit => (away ? Promise.reject(new Error('away')) : rig.db.writeRelaxed(unit)),
    })
    const [mine] = await claims(1)
    journal.expect(lease, mine!)
    await expect(journal.append(lease, mine!)).rejects.toThrow('away')
    away = false
    await journal.append(lease, mine!)
    expect(await inDoubt()).toEqual(seqs([mine!]))
    const [late] = await claims(1)
    await rig.exec('update leases set until = 0 where id = $1', lease)
    journal.expect(lease, late!)
    await expect(journal.append(lease, late!)).rejects.toThrow('the lease ended before')
  })

  it('the entry of an earlier claim, expected or written, stands for no later one', async () => {
    const journal = newJournal()
    const [first] = await claims(1)
    journal.expect(lease, first!)
    await journal.append(lease, first!)
    await rig.settle([first!], { ...SENT, verdicts: [] })
    const [second] = await rig.claim(account, lease)
    await journal.append(lease, second!)
    expect(await inDoubt()).toEqual(seqs([second!]))
    expect(await rowCount()).toBe(2)
  })

  it('a database that is away rejects every append of the bunch, and the next ones are tried anew', async () => {
    let away = true
    const journal = newJournal({
      ...rig.db,
      writeRelaxed: unit => (away ? Promise.reject(new Error('away')) : rig.db.writeRelaxed(unit)),
    })
    const mine = await claims(3)
    const results = await Promise.allSettled(mine.slice(0, 2).map(each => journal.append(lease, each)))
    expect(results.map(each => each.status)).toEqual(['rejected', 'rejected'])
    away = false
    await journal.append(lease, mine[2]!)
    expect(await inDoubt()).toEqual(seqs(mine.slice(2)))
  })

  it('of claims that stand in one row, those settled are no doubt any more, whoever reads it and when', async () => {
    const journal = newJournal()
    const mine = await claims(3)
    await Promise.all(mine.map(each => journal.append(lease, each)))
    await rig.settle([mine[1]!], SENT)
    expect(await inDoubt()).toEqual(seqs([mine[0]!, mine[2]!]))
    await rig.settle([mine[0]!, mine[2]!], SENT)
    expect(await inDoubt()).toEqual(new Set())
  })

  it('a message that went back and was claimed again under the same lease is in doubt only once journalled again', async () => {
    const journal = newJournal()
    const [first] = await claims(1)
    await journal.append(lease, first!)
    await rig.settle([first!], { ...SENT, verdicts: [] })
    const [second] = await rig.claim(account, lease)
    expect(second!.seq).toBe(first!.seq)
    expect(await inDoubt()).toEqual(new Set())
    await journal.append(lease, second!)
    expect(await inDoubt()).toEqual(seqs([second!]))
  })

  it('rows whose claims are all over are removed by and by, one with a claim that is not stays', async () => {
    const journal = newJournal()
    const mine = await claims(80)
    // Two a row; of each the second is settled later.
    for (let i = 0; i < mine.length; i += 2) {
      await Promise.all(mine.slice(i, i + 2).map(each => journal.append(lease, each)))
    }
    expect(await rowCount()).toBe(40)
    const settle = async (some: readonly Claimed[]) => {
      await rig.settle(some, SENT)
      journal.settled(lease, some)
    }
    await settle(mine.filter((_, i) => i % 2 === 0))
    const [next] = await claims(1)
    await journal.append(lease, next!)
    expect(await rowCount()).toBe(41)
    await settle(mine.slice(0, 76).filter((_, i) => i % 2 === 1))
    const [last] = await claims(1)
    await journal.append(lease, last!)
    // The two of which one claim each is open, and the last two.
    expect(await rowCount()).toBe(4)
    expect(await inDoubt()).toEqual(seqs([mine[77]!, mine[79]!, next!, last!]))
  })

  it('of claims that were settled while their entries were on their way, the rows go too', async () => {
    const mine = await claims(40)
    let onItsWay: Claimed | undefined
    const journal = newJournal({
      ...rig.db,
      writeRelaxed: unit => {
        if (onItsWay !== undefined) journal.settled(lease, [onItsWay])
        return rig.db.writeRelaxed(unit)
      },
    })
    for (const [i, each] of mine.entries()) {
      onItsWay = i % 2 === 0 ? each : undefined
      const appended = journal.append(lease, each)
      // Still waiting for its turn.
      if (i % 2 === 1) journal.settled(lease, [each])
      await appended
    }
    // The first 32 went together.
    expect(await rowCount()).toBe(8)
  })

  it('a result told late removes no row in which the message’s next claim stands', async () => {
    const journal = newJournal()
    const mine = await claims(40)
    for (const each of mine) await journal.append(lease, each)
    await rig.settle(mine, { ...SENT, verdicts: [] })
    const again = await rig.claim(account, lease)
    for (const each of again) await journal.append(lease, each)
    journal.settled(lease, mine)
    const [last] = await claims(1)
    await journal.append(lease, last!)
    expect(await inDoubt()).toEqual(seqs([...again, last!]))
  })

  it('rows that could not be removed are tried again', async () => {
    let away = false
    const journal = newJournal({
      ...rig.db,
      writeRelaxed: unit => (away ? Promise.reject(new Error('away')) : rig.db.writeRelaxed(unit)),
    })
    const mine = await claims(41)
    for (const each of mine.slice(0, 40)) await journal.append(lease, each)
    await rig.settle(mine.slice(0, 40), SENT)
    journal.settled(lease, mine.slice(0, 40))
    away = true
    await expect(journal.append(lease, mine[40]!)).rejects.toThrow('away')
    away = false
    await journal.append(lease, mine[40]!)
    expect(await rowCount()).toBe(1)
  })

  it('forgetting takes the lease’s entries only', async () => {
    const journal = newJournal()
    const other = await rig.lease()
    const mine = await claims(1)
    const theirs = await claims(1, other)
    await journal.append(lease, mine[0]!)
    await journal.append(other, theirs[0]!)
    await journal.forget(lease)
    expect(await inDoubt()).toEqual(new Set())
    expect(await inDoubt(other)).toEqual(seqs(theirs))
  })

  it('the end of a lease that is cut off leaves a lease to be rescued, and no entries for ever', async () => {
    const isEnd = ({ sql }: Statement) => sql.startsWith('delete from leases')
    const write: Db['write'] = unit => (unit.some(isEnd) ? Promise.reject(new Error('cut off')) : rig.db.write(unit))
    const journal = newJournal()
    const keeper = createLeaseKeeper({
      db: { ...rig.db, write },
      clock: createFakeClock(),
      log: silentLog,
      holder: 'test',
      leaseMs: 60_000,
      steadyNow: () => rig.now,
      journal,
      epoch: async () => 'today',
      rescueDeps: () => expect.unreachable(),
      flush: async () => {},
      changed() {},
      rescued() {},
    })
    await keeper.begin(false)
    const { id } = keeper.lease!
    await journal.append(id, of(1))
    await expect(keeper.end()).rejects.toThrow('cut off')
    expect(await rowCount()).toBe(0)
    expect(await rig.rows('select id from leases where id = $1', id)).toHaveLength(1)
  })

  it('the epoch is the same for all who ask, until a crash of the server', async () => {
    const epoch = await currentEpoch(rig.db)
    expect(epoch).toMatch(/^postgres [0-9a-f-]{36}$/)
    expect(await currentEpoch(rig.db)).toBe(epoch)
  })
})
