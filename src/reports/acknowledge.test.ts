import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { judgeAnswer } from './acknowledge.js'

const now = 1_800_000_000_000
const judge = (body: unknown, status = 200) =>
  judgeAnswer({ status, body: typeof body === 'string' ? body : JSON.stringify(body) }, now)

describe('judgeAnswer', () => {
  it('a 2xx with a JSON object acknowledges', () => {
    expect(judge({})).toEqual({ acknowledged: true, again: new Set(), wantsSync: false, quietUntil: undefined })
    expect(judge({ ok: true }, 202).acknowledged).toBe(true)
  })

  it.each([
    ['another status', { ok: true }, 302],
    ['a server error', { ok: true }, 500],
    ['no JSON', '<html>ok</html>', 200],
    ['an empty body', '', 204],
    ['a list', [], 200],
    ['a number', '7', 200],
    ['null', 'null', 200],
    ['ok: false', { ok: false, error: [] }, 200],
    ['ok: "false"', { ok: 'false' }, 200],
    ['ok: "true"', { ok: 'true' }, 200],
    ['ok: 0', { ok: 0 }, 200],
    ['ok: 1', { ok: 1 }, 200],
    ['ok: null', { ok: null }, 200],
  ])('%s acknowledges nothing', (_, body, status) => {
    expect(judge(body, status).acknowledged).toBe(false)
  })

  it('ids in error are wanted again, as ids or as objects; not_found is not', () => {
    expect(
      judge({ error: ['a', 7, { id: 'b', reason: 'x' }, { id: 8 }, null, true, []], not_found: ['c'] }),
    ).toMatchObject({
      again: new Set(['a', '7', 'b', '8']),
    })
  })

  it('an error that is a sentence names no message', () => {
    expect(judge({ ok: true, error: 'm1' })).toMatchObject({ acknowledged: true, again: new Set() })
  })

  it('queued above zero asks for another sync, also as a numeric string', () => {
    expect(judge({ queued: 3 })).toMatchObject({ wantsSync: true })
    expect(judge({ queued: '2' })).toMatchObject({ wantsSync: true })
    for (const queued of [0, -1, '', 'many', true, [5], { a: 1 }])
      expect(judge({ queued })).toMatchObject({ wantsSync: false })
  })

  it('next_sync_after is Unix seconds, a numeric string or ISO 8601', () => {
    const at = now + 60_000
    expect(judge({ next_sync_after: at / 1000 })).toMatchObject({ quietUntil: at })
    expect(judge({ next_sync_after: String(at / 1000) })).toMatchObject({ quietUntil: at })
    expect(judge({ next_sync_after: new Date(at).toISOString() })).toMatchObject({ quietUntil: at })
  })

  it('a past or null next_sync_after ends the quiet, nonsense changes nothing', () => {
    expect(judge({ next_sync_after: 1 })).toMatchObject({ quietUntil: null })
    expect(judge({ next_sync_after: null })).toMatchObject({ quietUntil: null })
    expect(judge({ next_sync_after: 'soon' })).toMatchObject({ quietUntil: undefined })
    expect(judge({ next_sync_after: {} })).toMatchObject({ quietUntil: undefined })
  })

  it('a quiet of centuries is cut to a year', () => {
    const verdict = judge({ next_sync_after: now })
    expect(verdict.acknowledged && verdict.quietUntil! - now).toBe(366 * 24 * 3600 * 1000)
  })

  it('deep nesting and huge lists are answers like others', () => {
    expect(() => judge(`${'['.repeat(500_000)}`)).not.toThrow()
    expect(judge({ error: Array.from({ length: 100_000 }, (_, n) => n) })).toMatchObject({ acknowledged: true })
  })

  it('whatever comes back, there is a verdict', () => {
    const field = fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue()), fc.double())
    const answer = fc.record({ ok: field, error: field, not_found: field, queued: field, next_sync_after: field })
    fc.assert(
      fc.property(
        fc.oneof(
          answer.map(each => JSON.stringify(each)),
          fc.json(),
          fc.string(),
        ),
        fc.integer({ min: 100, max: 599 }),
        (body, status) => {
          const verdict = judgeAnswer({ status, body }, now)
          expect(typeof verdict.acknowledged).toBe('boolean')
          if (verdict.acknowledged && verdict.quietUntil != null) expect(verdict.quietUntil).toBeGreaterThan(now)
        },
      ),
    )
  })
})
