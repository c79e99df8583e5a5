import { describe, expect, it, vi } from 'vitest'
import type { Db } from '../db/db.js'
import type { Ready } from '../lib/wake.js'
import { createWake } from './hints.js'

/** Two processes of one database. */
function pair() {
  const payloads: string[] = []
  const listeners: ((payload: string) => void)[] = []
  const db = {
    dialect: 'postgres',
    notify(payload: string) {
      payloads.push(payload)
      for (const each of listeners) each(payload)
    },
    onNotify: (listener: (payload: string) => void) => void listeners.push(listener),
  } as unknown as Db
  const nothing = { reports: () => {}, runNow: () => {}, settingsChanged: () => {} }
  const heard: (readonly Ready[])[] = []
  const wake = createWake(db, { ...nothing, queue: () => {} }, async () => {}, vi.fn())
  createWake(db, { ...nothing, queue: ready => heard.push(ready) }, async () => {}, vi.fn())
  return { wake, db, payloads, heard }
}

const at = (accountKey: number, priority: number, seq: number) => ({ accountKey, priority, seq, onward: false })

describe('hints to other processes', () => {
  it('of a moment go out together, the first of each account and priority', async () => {
    const { wake, heard } = pair()
    wake.queue([at(1, 2, 11), at(1, 3, 12)])
    wake.queue([at(1, 2, 9), at(2, 2, 13)])
    await vi.waitFor(() => expect(heard).toHaveLength(1))
    expect(heard[0]).toEqual([at(1, 2, 9), at(2, 2, 13), at(1, 3, 12)])
  })

  it('of many accounts fit into notifications, the urgent ones first', async () => {
    const { wake, payloads, heard } = pair()
    const large = 9_000_000_000_000
    wake.queue(Array.from({ length: 2_000 }, (_, i) => at(large + i, i === 1_999 ? 0 : 3, large + i)))
    await vi.waitFor(() => expect(heard.length).toBeGreaterThan(0))
    for (const payload of payloads) expect(payload.length).toBeLessThan(8_000)
    expect(heard.flat()).toHaveLength(800)
    expect(heard[0]![0]).toEqual(at(large + 1_999, 0, large + 1_999))
  })

  it('wake also where there is nothing to name', async () => {
    const { wake, heard } = pair()
    wake.queue([])
    await vi.waitFor(() => expect(heard).toEqual([[]]))
  })

  it.each(['', 'null', '7', '"x"', '{"of":"queue","keys":[1],"priority":2}', '{"of":"other"}'])(
    'of somebody else are none: %s',
    payload => {
      const { db, heard } = pair()
      db.notify(payload)
      expect(heard).toEqual([])
    },
  )
})
