/** Large contents inside a message: stored apart in pieces, tied to it in its unit, gone with it. */
import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { deleteMessages } from '../../src/queue/operate.js'
import { dropUploads, openUpload, pruneUploads, storeUpload } from '../../src/queue/uploads.js'
import { type QueueRig, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

const HOUR = 3_600_000

describe.each(dialects)('uploads on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    await rig.exec('delete from uploads')
    account = await rig.account()
  })

  const parts = () => [randomBytes(500_000), randomBytes(500_000), randomBytes(7)]
  const uploads = async () => (await rig.rows('select id from uploads')).map(row => Number(row.id))
  const remaining = async () => Number((await rig.rows('select count(*) as n from upload_parts'))[0]!.n)
  const mail = (id: string, upload: { id: number; sizeBytes: number }) => {
    const attachment = { filename: 'a', fetchMode: 'base64' as const, storagePath: '', upload }
    const { content, ...message } = rig.message(account)
    return { ...message, id, content: { ...content, attachments: [attachment] } }
  }

  it('come back as they were, a piece at a time', async () => {
    const given = parts()
    const upload = await storeUpload(rig.db, given, rig.now)
    expect(upload.sizeBytes).toBe(1_000_007)
    const read: Buffer[] = []
    for await (const piece of openUpload(rig.db, upload.id) as AsyncIterable<Buffer>) read.push(piece)
    expect(Buffer.concat(read).equals(Buffer.concat(given))).toBe(true)
  })

  it('go with their message, and stay as long as it does', async () => {
    const upload = await storeUpload(rig.db, parts(), rig.now)
    await rig.enqueue(mail('m1', upload))
    await pruneUploads(rig.db, rig.now + 24 * HOUR, HOUR)
    expect(await uploads()).toEqual([upload.id])
    await deleteMessages(rig.db, { tenantId: 'acme', ids: ['m1'] })
    expect([await uploads(), await remaining()]).toEqual([[], 0])
  })

  it('those that no message took up are removed after a while', async () => {
    const upload = await storeUpload(rig.db, parts(), rig.now)
    await pruneUploads(rig.db, rig.now + HOUR, HOUR)
    expect(await uploads()).toEqual([upload.id])
    await pruneUploads(rig.db, rig.now + HOUR + 1, HOUR)
    expect([await uploads(), await remaining()]).toEqual([[], 0])
  })

  it('those of a content that was replaced are removed, the new ones stay', async () => {
    const [old, fresh] = [await storeUpload(rig.db, parts(), rig.now), await storeUpload(rig.db, parts(), rig.now)]
    await rig.enqueue(mail('m1', old))
    await rig.enqueue(mail('m1', fresh))
    await pruneUploads(rig.db, rig.now, HOUR)
    expect(await uploads()).toEqual([fresh.id])
  })

  it('dropping touches none that a message has', async () => {
    const [kept, dropped] = [await storeUpload(rig.db, parts(), rig.now), await storeUpload(rig.db, parts(), rig.now)]
    await rig.enqueue(mail('m1', kept))
    await dropUploads(rig.db, [kept.id, dropped.id])
    expect(await uploads()).toEqual([kept.id])
  })
})
