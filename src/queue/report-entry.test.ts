import { describe, expect, it } from 'vitest'
import { deferredEntry, type EntryBase, errorEntry, inDoubtEntry, sentEntry } from './report-entry.js'

const subject: EntryBase = { id: 'm1', tenantId: 'acme', accountId: 'main', priority: 2, attempts: 3, recipients: null }
const accepted = { address: 'a@x.test', status: 'accepted', code: '250', reply: 'queued as 1' } as const
const refused = { address: 'b@x.test', status: 'refused', code: '550', reply: 'unknown' } as const

describe('report entries', () => {
  it('carry instants as whole Unix seconds', () => {
    expect(sentEntry(subject, 1_795_171_113_999)).toEqual({
      id: 'm1',
      sent_ts: 1_795_171_113,
      tenant_id: 'acme',
      account_id: 'main',
      priority: 2,
      attempts: 3,
    })
    expect(inDoubtEntry(subject, 5_000)).toMatchObject({ id: 'm1', in_doubt_ts: 5 })
    // The time of the next attempt is rounded up: who looks at that second must not be too early.
    expect(deferredEntry(subject, 6_001, '451 later')).toMatchObject({ deferred_ts: 7, deferred_reason: '451 later' })
  })

  it('an error tells its text and code and never a sent_ts', () => {
    const entry = errorEntry(subject, 9_000, '550 no', '550')
    expect(entry).toMatchObject({ error_ts: 9, error: '550 no', code: '550' })
    expect(entry).not.toHaveProperty('sent_ts')
  })

  it('recipients are told when they ended differently', () => {
    expect(sentEntry({ ...subject, recipients: [accepted, refused] }, 0).recipients).toEqual([accepted, refused])
  })

  it('recipients are left out when only the words of their acceptance differ', () => {
    const other = { ...accepted, address: 'c@x.test', reply: 'queued as 2' }
    expect(sentEntry({ ...subject, recipients: [accepted, other] }, 0)).not.toHaveProperty('recipients')
    expect(sentEntry({ ...subject, recipients: [refused] }, 0)).not.toHaveProperty('recipients')
    expect(sentEntry({ ...subject, recipients: null }, 0)).not.toHaveProperty('recipients')
  })

  it('recipients carry the four fields of the wire and nothing that may be kept beside them', () => {
    const more = { ...accepted, internal: 5 }
    expect(sentEntry({ ...subject, recipients: [more, refused] }, 0).recipients).toEqual([accepted, refused])
  })

  it('a recipient’s words are cut where a thousand of them would grow into a megabyte', () => {
    const long = { ...refused, reply: 'x'.repeat(1000) }
    const [, told] = sentEntry({ ...subject, recipients: [accepted, long] }, 0).recipients ?? []
    expect(told?.reply).toHaveLength(500)
  })

  it('recipients refused with different words are told', () => {
    const other = { ...refused, address: 'c@x.test', reply: 'mailbox full' }
    const entry = errorEntry({ ...subject, recipients: [refused, other] }, 0, 'all refused', '550')
    expect(entry.recipients).toHaveLength(2)
  })
})
