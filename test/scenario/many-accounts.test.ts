/** Many more accounts than places, on a server that is not quick: each keeps its connection for a turn of messages. */
import { expect, it } from 'vitest'
import { opened, openScene } from '../support/scene.js'
import { startSink } from '../support/smtp-sink.js'
import { many } from '../support/story.js'

const ACCOUNTS = 60
const EACH = 4

const accountOf = (i: number) => `account-${i % ACCOUNTS}`

it.each(['sqlite', 'postgres'] as const)(
  'what has been claimed goes before what waits in the queue, on %s',
  async dialect => {
    // Claimed are 24 at most: those of six accounts.
    const env = { GMP_MAX_CONCURRENT_SENDS: '5', GMP_BATCH_SIZE_PER_ACCOUNT: '4' }
    const { service } = await openScene({ dialect, account: null, env })
    const sink = await opened(startSink({ behave: { final: () => ({ delayMs: 20 }) } }), each => each.close())
    for (let i = 0; i < ACCOUNTS; i++) await service.account(sink, { id: accountOf(i), max_connections: 1 })
    // The server is known from here on.
    await service.send(...many(1, 'first', { account_id: accountOf(0) }))
    await sink.waitFor(1)

    const messages = many(ACCOUNTS * EACH, 'm').map((each, i) => ({
      ...each,
      account_id: accountOf(i),
      from: `${accountOf(i)}@x.test`,
    }))
    await service.send(...messages)
    await sink.waitFor(1 + messages.length)

    const left = new Map<string, number>()
    let begun = 0
    for (const { from } of sink.messages.slice(1)) {
      const before = left.get(from) ?? EACH
      if (before === 1) left.delete(from)
      else left.set(from, before - 1)
      begun = Math.max(begun, left.size)
    }
    // As many as there are places, and some that wait for one with the first of their messages gone.
    expect(begun).toBeLessThan(ACCOUNTS / 4)
  },
)
