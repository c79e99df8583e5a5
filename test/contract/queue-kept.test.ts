/** Contents that SQLite's process keeps for the claim: found without the database, and never those of another submission. */
import { describe, expect, it } from 'vitest'
import type { Message } from '../../src/messages/message.js'
import { enqueue } from '../../src/queue/enqueue.js'
import { createKeptContents } from '../../src/queue/kept-contents.js'
import { INTERRUPTED, LATER, type QueueRig, REFUSED, type TestAccount, useQueueRig } from '../support/queue-rig.js'

describe('kept contents on sqlite', () => {
  let rig: QueueRig
  let account: TestAccount
  let lease: number
  useQueueRig('sqlite', async given => {
    rig = given
    rig.kept = createKeptContents(() => rig.now)
    account = await rig.account()
    lease = await rig.lease()
  })

  const saying = (subject: string, fields: Partial<Message> = {}) => {
    const { content } = rig.message(account)
    return rig.message(account, { content: { ...content, subject }, ...fields })
  }
  const claimed = async () => (await rig.claim(account, lease)).map(each => each.content?.subject)
  const isEmpty = () => rig.kept!.numbers()[0] > rig.kept!.numbers()[1]
  /** What the database has in their place. */
  const overwrite = () => rig.exec(`update contents set content = '{"subject":"of the database"}'`)

  it('a claim takes what was kept, and does not read it', async () => {
    const trace = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    const message = saying('kept', { trace, envelope: { from: '', to: ['c@z.test'] } })
    await rig.enqueue(message)
    await overwrite()
    const [taken] = await rig.claim(account, lease)
    expect(taken).toMatchObject({ content: message.content, envelope: message.envelope, trace })
    expect(isEmpty()).toBe(true)
  })

  it('what is not kept comes from the database, beside what is', async () => {
    const large = saying('large')
    await rig.enqueue(saying('first'), { ...large, content: { ...large.content, body: 'x'.repeat(20_000) } })
    await enqueue(rig.db, [saying('of an earlier process')], { now: rig.now })
    await rig.enqueue(saying('last'))
    expect(await claimed()).toEqual(['first', 'large', 'of an earlier process', 'last'])
  })

  it('a scheduled one is not kept', async () => {
    await rig.enqueue(saying('later', { notBefore: rig.now + 1 }))
    expect(isEmpty()).toBe(true)
  })

  it('of two submissions the last one counts, whichever of them are kept', async () => {
    const both = async (first: boolean, second: boolean) => {
      const message = saying('first')
      const submit = (subject: string, isKept: boolean) =>
        enqueue(rig.db, [{ ...message, content: { ...message.content, subject } }], {
          now: rig.now,
          kept: isKept ? rig.kept : null,
        })
      const submitted = [await submit('first', first), await submit('second', second)]
      expect(submitted.map(({ answers }) => answers)).toEqual([['queued'], ['queued']])
      return await claimed()
    }
    expect(await both(true, true)).toEqual(['second'])
    expect(await both(true, false)).toEqual(['second'])
    expect(await both(false, true)).toEqual(['second'])
  })

  it('after an error the id is a new submission, with its own content', async () => {
    const message = saying('first')
    await rig.enqueue(message)
    await rig.settle(await rig.claim(account, lease), REFUSED)
    await rig.enqueue({ ...message, content: { ...message.content, subject: 'second' } })
    expect(await claimed()).toEqual(['second'])
  })

  it('what was refused is not kept', async () => {
    const message = saying('being sent')
    await rig.enqueue(message)
    await rig.claim(account, lease)
    expect(await rig.enqueue(message)).toEqual(['in_progress'])
    expect(isEmpty()).toBe(true)
  })

  it('what could not be written is not kept', async () => {
    const db = { ...rig.db, write: () => Promise.reject(new Error('away')) }
    const enqueued = enqueue(db, [saying('nowhere')], { now: rig.now, kept: rig.kept })
    expect(isEmpty()).toBe(false)
    await expect(enqueued).rejects.toThrow('away')
    expect(isEmpty()).toBe(true)
  })

  it('given back or tried again, it comes from the database', async () => {
    await rig.enqueue(saying('given back'), saying('tried again'))
    const [back, again] = await rig.claim(account, lease)
    await rig.enqueue(saying('kept still'))
    await rig.settle([back!], INTERRUPTED)
    await rig.settle([again!], LATER)
    await rig.exec('update messages set stage = 1 where stage = 2')
    expect(await claimed()).toEqual(['given back', 'tried again', 'kept still'])
  })

  it('one that made room while its claim was under way comes from the database', async () => {
    await rig.enqueue(saying('gone'))
    const [number] = rig.kept!.numbers()
    const { kept } = rig
    const numbers = kept!.numbers()
    rig.kept = { ...kept!, numbers: () => numbers }
    kept!.take(number)
    expect(await claimed()).toEqual(['gone'])
  })
})
