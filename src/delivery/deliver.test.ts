import { describe, expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { silentLog } from '../../test/support/silent-log.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { Lease } from '../queue/lease.js'
import type { Letter, MailTransport } from '../smtp/transport.js'
import { deliver } from './deliver.js'
import type { Lookup } from './settings.js'

const LEASE_MS = 60_000
const MARGIN_MS = 10_000

const claimed = {
  id: 'm1',
  seq: 7,
  tenantId: 'default',
  attempts: 0,
  recipients: null,
  createdAt: 0,
  expiresAt: null,
  envelope: { from: 'sender@example.com', to: ['one@example.net'] },
  content: { from: 'sender@example.com', to: ['one@example.net'], subject: 'S', contentType: 'plain', body: 'B' },
} as unknown as ClaimedMessage
const lookup = { account: { maxRecipientsPerTransaction: 100 }, tenant: { largeFileConfig: null } } as Lookup

/** A delivery up to its final dot; `frozenMs` pass while the journal entry is on its way. */
async function deliverFrozen(frozenMs: number, message = claimed, to = lookup, letter: Letter | null = null) {
  const clock = createFakeClock()
  const dots: string[] = []
  const journalled: number[] = []
  const lease: Lease = {
    id: 1,
    hasMargin: marginMs => clock.monotonic() < LEASE_MS - marginMs,
    renew: async () => true,
    end: async () => {},
  }
  const reply = { code: 250, enhanced: '2.0.0', text: 'Accepted' }
  const transport = {
    async send(_account, envelope, _mail, { beforeFinalDot }) {
      await beforeFinalDot()
      dots.push(...envelope.to)
      const recipients = envelope.to.map(address => ({ address, reply }))
      return { mail: null, recipients, data: reply, reachedData: true, remote: 'sink', durationMs: 1 }
    },
  } as Partial<MailTransport> as MailTransport
  const journal = {
    check() {},
    expect() {},
    async append(_lease: number, { seq }: { seq: number }) {
      await clock.advance(frozenMs)
      journalled.push(seq)
    },
    settled() {},
    read: async () => new Set<number>(),
    forget: async () => {},
    close() {},
  }
  const unused = () => Promise.reject(new Error('not needed'))
  const sources = { fetchAttachments: unused, offload: unused, loadContent: unused }
  const deps = { clock, log: silentLog, transport, journal, marginMs: MARGIN_MS, ...sources }
  const outcome = await deliver(message, to, lease, deps, {
    abort: new AbortController(),
    letter,
    since: clock.monotonic(),
    isBegun: false,
    isAsked: false,
  })
  return { outcome, dots, journalled }
}

describe('the final dot', () => {
  it('goes out once the attempt is journalled', async () => {
    const { outcome, dots, journalled } = await deliverFrozen(0)
    expect(journalled).toEqual([7])
    expect(dots).toEqual(['one@example.net'])
    expect(outcome.verdicts).toMatchObject([{ verdict: 'accepted' }])
  })

  it('stays away when the lease ran short while the entry was being written: the rescuer may not have seen it', async () => {
    const { outcome, dots } = await deliverFrozen(LEASE_MS)
    expect(dots).toEqual([])
    expect(outcome).toMatchObject({ interrupted: true, inDoubt: false })
  })
})

describe('recipients that do not fit into one transaction', () => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const two = { ...lookup, account: { maxRecipientsPerTransaction: 2 } } as Lookup
  const putOff = (attempts: number, neverAsked: readonly string[] = []) => {
    const replyOf = (address: string) => (neverAsked.includes(address) ? null : '450 later')
    const recipients = names.map(address => ({ address, status: 'open', code: null, reply: replyOf(address) }))
    return { ...claimed, attempts, recipients } as ClaimedMessage
  }
  const asked = async (...given: Parameters<typeof putOff>) =>
    (await deliverFrozen(0, putOff(...given), two)).dots.join('')

  it('are asked in turn, also when the first of them are put off at each attempt', async () => {
    expect(await Promise.all([0, 1, 2, 3, 4, 5].map(attempts => asked(attempts)))).toEqual([
      'ab',
      'cd',
      'ea',
      'bc',
      'de',
      'ab',
    ])
  })

  it('whoever was never asked comes first', async () => {
    expect(await asked(1, ['b', 'e'])).toBe('be')
    expect(await asked(1, ['e'])).toBe('ec')
  })

  it('each reply belongs to whom it was given, also where the letter was made before the account changed', async () => {
    const letter = { envelope: { from: '', to: ['d', 'a'] }, mail: {} } as unknown as Letter
    const { outcome } = await deliverFrozen(0, putOff(1), two, letter)
    const accepted = outcome.verdicts.filter(({ verdict }) => verdict === 'accepted')
    expect(accepted.map(({ address }) => address)).toEqual(['d', 'a'])
    expect(outcome.verdicts).toHaveLength(names.length)
  })
})
