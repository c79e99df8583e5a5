import { beforeEach, describe, expect, it } from 'vitest'
import { plainMessage } from '../../test/support/plain-message.js'
import { createKeptContents, type KeptContents } from './kept-contents.js'

const message = plainMessage({ key: 1, id: 'main', tenantId: 'acme' })
/** With its envelope as large as one may be. */
const LARGE = 16 * 1024 - 'a@x.testb@y.test'.length
const TAKES = 16 * 1024 + 700

describe('kept contents', () => {
  let now: number
  let kept: KeptContents
  beforeEach(() => {
    now = 1_000_000
    kept = createKeptContents(() => now)
  })

  /** As many as there is room for; answers their numbers. */
  const fill = () => {
    const numbers: number[] = []
    for (;;) {
      const number = kept.keep(message, LARGE)
      if (number === null) return numbers
      numbers.push(number)
    }
  }

  it('are handed out once, with envelope and trace', () => {
    const number = kept.keep({ ...message, trace: 't' }, 10)!
    expect(kept.take(number)).toEqual({ content: message.content, envelope: message.envelope, trace: 't' })
    expect(kept.take(number)).toBe(undefined)
    expect(kept.take(kept.keep(message, 10)!)).toMatchObject({ trace: null })
  })

  it('the numbers are those from the first to the last that is kept, and none where nothing is', () => {
    const isNone = () => kept.numbers()[0] > kept.numbers()[1]
    expect(isNone()).toBe(true)
    const [a, b, c] = [1, 2, 3].map(() => kept.keep(message, 10)!)
    expect(kept.numbers()).toEqual([a, c])
    kept.take(b!)
    expect(kept.numbers()).toEqual([a, c])
    kept.take(a!)
    expect(kept.numbers()).toEqual([c, c])
    kept.take(c!)
    expect(isNone()).toBe(true)
  })

  it('a large one is not kept', () => {
    expect(kept.keep(message, LARGE + 1)).toBe(null)
    expect(kept.keep(message, LARGE)).not.toBe(null)
  })

  it('recipients count as the content does', () => {
    const to = Array.from({ length: 100 }, (_, i) => `${i + 100}@y.test`)
    const many = { ...message, envelope: { from: '', to } }
    expect(kept.keep(many, 16 * 1024 - 999)).toBe(null)
    expect(kept.keep(many, 16 * 1024 - 1_000)).not.toBe(null)
  })

  it('small ones count with what each takes in memory', () => {
    let count = 0
    while (kept.keep(message, 284) !== null) count += 1
    expect(count).toBe(12_000)
  })

  it('one with attachments is not kept', () => {
    const attachments = [{ filename: 'a', fetchMode: 'base64', storagePath: 'YQ==' }] as const
    expect(kept.keep({ ...message, content: { ...message.content, attachments } }, 10)).toBe(null)
  })

  it('take no more than 12 million characters together: what comes then is not kept, until some are claimed', () => {
    const numbers = fill()
    expect(numbers).toHaveLength(Math.floor(12_000_000 / TAKES))
    expect(kept.keep(message, LARGE)).toBe(null)
    kept.take(numbers[7]!)
    expect(kept.keep(message, LARGE)).not.toBe(null)
    expect(kept.keep(message, LARGE)).toBe(null)
  })

  it('what nobody claimed for ten seconds leaves to make room, the oldest first and no more than it takes', () => {
    const numbers = fill()
    now += 9_999
    expect(kept.keep(message, LARGE)).toBe(null)
    now += 1
    const fresh = kept.keep(message, LARGE)!
    expect(kept.take(numbers[0]!)).toBe(undefined)
    expect(kept.numbers()).toEqual([numbers[1], fresh])
    expect(kept.take(fresh)).toBeDefined()
  })

  it('one that 32,768 others have passed leaves', () => {
    const [stuck, next] = [kept.keep(message, 10)!, kept.keep(message, 10)!]
    for (let i = 2; i < 32_768; i += 1) kept.take(kept.keep(message, 10)!)
    expect(kept.numbers()[0]).toBe(stuck)
    const last = kept.keep(message, 10)!
    expect(kept.take(stuck)).toBe(undefined)
    expect(kept.numbers()).toEqual([next, last])
    expect(kept.take(next)).toBeDefined()
    expect(kept.take(last)).toBeDefined()
    expect(kept.take(last + 32_768)).toBe(undefined)
  })

  it('two processes have other numbers', () => {
    const other = createKeptContents(() => now)
    expect(other.keep(message, 1)).not.toBe(kept.keep(message, 1))
  })
})
