/** The envelope of the next message goes out with the final dot of the one before: each outcome lands with its message. */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene } from '../support/scene.js'
import type { SinkAction } from '../support/smtp-sink.js'
import { expectBalanced, many } from '../support/story.js'

const BATCH = 60
const ids = (count: number) => many(count, 'm').map(each => each.id as string)

describe.each(['sqlite', 'postgres'] as const)('an envelope ahead, on %s', dialect => {
  it('carries a batch over one connection, each message once and in order', async () => {
    const { service, sink, client } = await openScene({
      dialect,
      account: { max_connections: 1, max_messages_per_connection: 1_000 },
    })
    await service.send(...many(BATCH, 'm'))
    await expectBalanced(service, client, ids(BATCH))
    expect(idsOf(sink.messages)).toEqual(ids(BATCH))
    expect(sink.connections).toBe(1)
  })

  it('doubles nothing but what is told to be in doubt, however connections end', async () => {
    const ends: Record<number, SinkAction> = {
      5: { cut: true, keep: true },
      12: { cut: true },
      20: 'what?',
      30: '554 5.7.1 Spam',
      40: { cut: true, keep: true },
    }
    const envelopes: Record<number, SinkAction> = { 9: { cut: true }, 25: '451 4.3.0 Later' }
    // Of each message its first dot: should the second try of one meet the end meant for another, the sums below are others.
    const seen = new Set<string>()
    const end = (content: Buffer) => {
      const id = idsOf([{ raw: content }])[0]!
      return seen.size < seen.add(id).size ? ends[seen.size] : null
    }
    const { service, sink, client, reports } = await openScene({
      dialect,
      account: { max_connections: 3 },
      sink: { behave: { final: ({ content }) => end(content), data: ({ n }) => envelopes[n] } },
    })
    await service.send(...many(BATCH, 'm'))
    await expectBalanced(service, client, ids(BATCH))
    const taken = idsOf(sink.messages)
    const doubled = ids(BATCH).filter(id => taken.filter(each => each === id).length > 1)
    const doubted = ids(BATCH).filter(id => reports(id).some(entry => entry.in_doubt_ts !== undefined))
    expect(doubted).toHaveLength(4)
    expect(doubted).toEqual(expect.arrayContaining(doubled))
    expect(doubled).toHaveLength(2)
    const refused = ids(BATCH).filter(id => reports(id).some(entry => entry.error_ts !== undefined))
    expect(refused).toHaveLength(1)
    expect(new Set(taken).size).toBe(BATCH - 1)
    // A cut or a 451 at DATA costs the message that it met one attempt, as each doubt does, and no other message any; nor
    // that one where its connection ended with the dot before it.
    const attempts = ids(BATCH).reduce((sum, id) => sum + reports(id).at(-1)!.attempts, 0)
    expect(attempts).toBeGreaterThanOrEqual(BATCH + doubted.length)
    expect(attempts).toBeLessThanOrEqual(BATCH + doubted.length + Object.keys(envelopes).length)
  })

  it("is given back while the server hangs behind the dot before it, and stays the operator's", async () => {
    let hung = ''
    const { service, sink } = await openScene({
      dialect,
      account: { max_connections: 1 },
      sink: {
        behave: {
          final: ({ content, n }) => {
            if (n !== 20) return null
            hung = idsOf([{ raw: content }])[0]!
            return { silent: true }
          },
        },
      },
    })
    await service.send(...many(BATCH, 'm', { batch_code: 'b' }))
    await service.until('a server that hangs', () => hung !== '')
    await service.call('POST', '/commands/suspend', { tenant_id: 'default', batch_code: 'b' })
    const claimed = async () => {
      const rows = await service.service.db!.read({ sql: 'select id from messages where stage = 3', params: [] })
      return rows.map(row => row.id as string)
    }
    await service.until('only the one in doubt is left', async () => (await claimed()).length === 1)
    expect(await claimed()).toEqual([hung])
    expect(sink.countOf('MAIL')).toBe(20)
    const waiting = ids(BATCH).find(id => id !== hung && !idsOf(sink.messages).includes(id))!
    expect(await service.message(waiting)).toMatchObject({ status: 'pending', attempts: 0 })
  })
})
