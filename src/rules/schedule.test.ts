import { describe, expect, it } from 'vitest'
import { openingAt, type RuleWindow } from './schedule.js'

const MONDAY = 0
const FRIDAY = 4
const SATURDAY = 5
const SUNDAY = 6

let nextId = 1
function rule(fields: Partial<RuleWindow> = {}): RuleWindow {
  return {
    id: nextId++,
    enabled: true,
    priority: 0,
    days: [],
    startHour: null,
    endHour: null,
    crossMidnight: false,
    intervalMinutes: 1,
    timezone: null,
    ...fields,
  }
}

const at = (iso: string) => Date.parse(iso)
const iso = (ms: number) => (ms === Number.POSITIVE_INFINITY ? 'never' : new Date(ms).toISOString().slice(0, 16))

/** The answer with its instants readable. */
function opening(rules: readonly RuleWindow[], now: string, timezone = 'UTC') {
  const found = openingAt(rules, at(now), timezone)
  if (found.kind === 'open') return { open: found.ruleId, tick: iso(found.tick), next: iso(found.nextTick) }
  return found.kind === 'closed' ? { closed: iso(found.opensAt) } : found.kind
}

describe('openingAt', () => {
  it('without an enabled rule sending is continuous', () => {
    expect(opening([], '2026-06-30T10:00:00Z')).toBe('continuous')
    expect(opening([rule({ enabled: false, startHour: 1, endHour: 2 })], '2026-06-30T10:00:00Z')).toBe('continuous')
  })

  it('a rule without hours is open all day and ticks from midnight', () => {
    const all = rule({ intervalMinutes: 7 })
    expect(opening([all], '2026-06-30T00:00:00Z')).toMatchObject({ tick: '2026-06-30T00:00', next: '2026-06-30T00:07' })
    expect(opening([all], '2026-06-30T00:20:59Z')).toMatchObject({ tick: '2026-06-30T00:14', next: '2026-06-30T00:21' })
    // The grid starts anew each day: 1440 is no multiple of 7.
    expect(opening([all], '2026-06-30T23:59:00Z')).toMatchObject({ tick: '2026-06-30T23:55', next: '2026-07-01T00:00' })
  })

  it('start ≤ h < end', () => {
    const office = rule({ startHour: 9, endHour: 17, intervalMinutes: 30 })
    expect(opening([office], '2026-06-30T08:59:59.999Z')).toEqual({ closed: '2026-06-30T09:00' })
    expect(opening([office], '2026-06-30T09:00:00Z')).toMatchObject({
      tick: '2026-06-30T09:00',
      next: '2026-06-30T09:30',
    })
    expect(opening([office], '2026-06-30T16:59:59Z')).toMatchObject({
      tick: '2026-06-30T16:30',
      next: '2026-07-01T09:00',
    })
    expect(opening([office], '2026-06-30T17:00:00Z')).toEqual({ closed: '2026-07-01T09:00' })
  })

  it('the grid counts from the window’s start, not from the hour', () => {
    const office = rule({ startHour: 9, endHour: 17, intervalMinutes: 50 })
    expect(opening([office], '2026-06-30T11:00:00Z')).toMatchObject({
      tick: '2026-06-30T10:40',
      next: '2026-06-30T11:30',
    })
  })

  it('an interval longer than the window ticks once, at its start', () => {
    const hour = rule({ startHour: 9, endHour: 10, intervalMinutes: 1440 })
    expect(opening([hour], '2026-06-30T09:59:00Z')).toMatchObject({
      tick: '2026-06-30T09:00',
      next: '2026-07-01T09:00',
    })
  })

  it('days count from Monday, 0', () => {
    // 2026-06-29 is a Monday.
    const weekdays = rule({ days: [0, 1, 2, 3, FRIDAY], startHour: 9, endHour: 17 })
    expect(opening([weekdays], '2026-06-29T10:00:00Z')).toMatchObject({ tick: '2026-06-29T10:00' })
    expect(opening([weekdays], '2026-07-04T10:00:00Z')).toEqual({ closed: '2026-07-06T09:00' })
    expect(opening([weekdays], '2026-07-03T17:00:00Z')).toEqual({ closed: '2026-07-06T09:00' })
    expect(opening([rule({ days: [SUNDAY] })], '2026-07-05T00:00:00Z')).toMatchObject({ tick: '2026-07-05T00:00' })
  })

  it('a window once a week opens again seven days later', () => {
    const mondays = rule({ days: [MONDAY], startHour: 9, endHour: 10 })
    expect(opening([mondays], '2026-06-29T10:00:00Z')).toEqual({ closed: '2026-07-06T09:00' })
  })

  it('start = end without cross_midnight never opens', () => {
    expect(opening([rule({ startHour: 9, endHour: 9 })], '2026-06-30T09:00:00Z')).toEqual({ closed: 'never' })
  })

  it('start > end without cross_midnight never opens', () => {
    expect(opening([rule({ startHour: 22, endHour: 6 })], '2026-06-30T23:00:00Z')).toEqual({ closed: 'never' })
  })

  it('a rule that never opens does not keep another from opening', () => {
    const rules = [rule({ startHour: 9, endHour: 9, priority: 9 }), rule({ startHour: 12, endHour: 13 })]
    expect(opening(rules, '2026-06-30T09:00:00Z')).toEqual({ closed: '2026-06-30T12:00' })
  })
})

describe('cross_midnight', () => {
  const night = { startHour: 22, endHour: 6, crossMidnight: true, intervalMinutes: 45 }

  it('after midnight the start day’s window continues, on its own grid', () => {
    const rules = [rule(night)]
    expect(opening(rules, '2026-06-30T23:00:00Z')).toMatchObject({ tick: '2026-06-30T22:45', next: '2026-06-30T23:30' })
    expect(opening(rules, '2026-07-01T00:20:00Z')).toMatchObject({ tick: '2026-07-01T00:15', next: '2026-07-01T01:00' })
    expect(opening(rules, '2026-07-01T05:59:00Z')).toMatchObject({ tick: '2026-07-01T05:30', next: '2026-07-01T22:00' })
    expect(opening(rules, '2026-07-01T06:00:00Z')).toEqual({ closed: '2026-07-01T22:00' })
  })

  it('it is the start day that counts: Friday’s window lasts into Saturday, Saturday has none', () => {
    const rules = [rule({ ...night, days: [FRIDAY] })]
    expect(opening(rules, '2026-07-04T03:00:00Z')).toMatchObject({ tick: '2026-07-04T02:30' })
    expect(opening(rules, '2026-07-04T23:00:00Z')).toEqual({ closed: '2026-07-10T22:00' })
    expect(opening(rules, '2026-07-03T03:00:00Z')).toEqual({ closed: '2026-07-03T22:00' })
  })

  it('start = end is open around the clock', () => {
    const rules = [rule({ startHour: 8, endHour: 8, crossMidnight: true, days: [SATURDAY], intervalMinutes: 60 })]
    expect(opening(rules, '2026-07-04T07:59:00Z')).toEqual({ closed: '2026-07-04T08:00' })
    expect(opening(rules, '2026-07-05T07:59:00Z')).toMatchObject({ tick: '2026-07-05T07:00', next: '2026-07-11T08:00' })
  })

  it('with end > start it is a window within the day', () => {
    const rules = [rule({ startHour: 9, endHour: 17, crossMidnight: true })]
    expect(opening(rules, '2026-06-30T10:00:00Z')).toMatchObject({ tick: '2026-06-30T10:00' })
    expect(opening(rules, '2026-06-30T18:00:00Z')).toEqual({ closed: '2026-07-01T09:00' })
    expect(opening(rules, '2026-06-30T03:00:00Z')).toEqual({ closed: '2026-06-30T09:00' })
  })

  it('without hours it changes nothing', () => {
    expect(opening([rule({ crossMidnight: true, days: [MONDAY] })], '2026-06-30T00:00:00Z')).toEqual({
      closed: '2026-07-06T00:00',
    })
  })
})

describe('several rules', () => {
  it('the highest priority number wins', () => {
    const low = rule({ priority: 1, intervalMinutes: 60 })
    const high = rule({ priority: 5, intervalMinutes: 15 })
    expect(opening([low, high], '2026-06-30T10:20:00Z')).toMatchObject({ open: high.id, tick: '2026-06-30T10:15' })
    expect(opening([high, low], '2026-06-30T10:20:00Z')).toMatchObject({ open: high.id })
  })

  it('ties go to the lowest id', () => {
    const first = rule({ intervalMinutes: 60 })
    const second = rule({ intervalMinutes: 15 })
    expect(opening([second, first], '2026-06-30T10:20:00Z')).toMatchObject({ open: first.id, tick: '2026-06-30T10:00' })
  })

  it('only rules whose window is open compete', () => {
    const low = rule({ priority: 1, intervalMinutes: 60 })
    const high = rule({ priority: 5, startHour: 3, endHour: 4 })
    expect(opening([low, high], '2026-06-30T10:20:00Z')).toMatchObject({ open: low.id })
  })

  it('a disabled rule does not win', () => {
    const low = rule({ priority: 1, intervalMinutes: 60 })
    const high = rule({ priority: 5, enabled: false })
    expect(opening([low, high], '2026-06-30T10:20:00Z')).toMatchObject({ open: low.id })
  })

  it('closed: the earliest opening of all', () => {
    const rules = [
      rule({ startHour: 20, endHour: 21 }),
      rule({ startHour: 12, endHour: 13, days: [SUNDAY] }),
      rule({ startHour: 18, endHour: 19 }),
    ]
    expect(opening(rules, '2026-06-30T14:00:00Z')).toEqual({ closed: '2026-06-30T18:00' })
  })

  it('when a stronger window opens before the next tick, that is when to look again', () => {
    const low = rule({ priority: 1, intervalMinutes: 100 })
    const high = rule({ priority: 5, startHour: 9, endHour: 10, intervalMinutes: 5 })
    expect(opening([low, high], '2026-06-30T08:59:00Z')).toEqual({
      open: low.id,
      tick: '2026-06-30T08:20',
      next: '2026-06-30T09:00',
    })
  })

  it('when the window ends, a weaker one that is open then takes over at once', () => {
    const low = rule({ priority: 1, intervalMinutes: 60 })
    const high = rule({ priority: 5, startHour: 9, endHour: 10, intervalMinutes: 45 })
    expect(opening([low, high], '2026-06-30T09:50:00Z')).toMatchObject({ open: high.id, next: '2026-06-30T10:00' })
  })
})

describe('time zones', () => {
  it('a rule’s own zone comes before the service’s', () => {
    const office = { startHour: 9, endHour: 17, intervalMinutes: 60 }
    expect(opening([rule(office)], '2026-06-30T07:30:00Z', 'Europe/Rome')).toMatchObject({ tick: '2026-06-30T07:00' })
    const own = rule({ ...office, timezone: 'America/New_York' })
    expect(opening([own], '2026-06-30T07:30:00Z', 'Europe/Rome')).toEqual({ closed: '2026-06-30T13:00' })
  })

  it('the day is the local one', () => {
    // Monday evening in New York is Tuesday in UTC.
    const monday = rule({ days: [MONDAY], timezone: 'America/New_York' })
    expect(opening([monday], '2026-06-30T03:59:00Z')).toMatchObject({ tick: '2026-06-30T03:59' })
    expect(opening([monday], '2026-06-30T04:00:00Z')).toEqual({ closed: '2026-07-06T04:00' })
  })

  it('zones off the full hour', () => {
    const office = rule({ startHour: 9, endHour: 17, timezone: 'Asia/Kathmandu' })
    expect(opening([office], '2026-06-30T03:14:00Z')).toEqual({ closed: '2026-06-30T03:15' })
  })

  it.each([
    // zone, night of the change, end of the 2–3 h window, opening of the next day
    ['Europe/Rome', '2026-03-29T00:59:00Z', '2026-03-29T01:00', '2026-03-29T02:00'],
    ['America/New_York', '2026-03-08T06:59:00Z', '2026-03-08T07:00', '2026-03-08T08:00'],
  ])('%s: an hour that daylight saving skips opens after the gap', (timezone, before, afterGap, fourOClock) => {
    const twoToFour = rule({ startHour: 2, endHour: 4, intervalMinutes: 15, timezone })
    expect(opening([twoToFour], before)).toEqual({ closed: afterGap })
    expect(opening([twoToFour], `${afterGap}:00Z`)).toMatchObject({ tick: afterGap })
    expect(opening([twoToFour], `${fourOClock}:00Z`)).toMatchObject({ closed: expect.any(String) })
  })

  it.each([
    ['Europe/Rome', '2026-03-29', '2026-03-30T00:00'],
    ['America/New_York', '2026-03-08', '2026-03-09T06:00'],
  ])('%s: a window wholly inside the skipped hour does not open that day', (timezone, day, next) => {
    const two = rule({ startHour: 2, endHour: 3, timezone })
    const found = opening([two], `${day}T05:30:00Z`) as { closed: string }
    expect(found.closed).toBe(next)
  })

  it.each([
    // The hour that comes twice: Rome 02:00 at 00:00Z and 01:00Z, New York 01:00 at 05:00Z and 06:00Z.
    ['Europe/Rome', 2, '2026-10-25T00:00', '2026-10-25T02:00'],
    ['America/New_York', 1, '2026-11-01T05:00', '2026-11-01T07:00'],
  ])('%s: an hour that comes twice is open twice', (timezone, hour, opens, closes) => {
    const once = rule({ startHour: hour, endHour: hour + 1, intervalMinutes: 15, timezone })
    expect(openingAt([once], at(`${opens}:00Z`) - 1, 'UTC').kind).toBe('closed')
    expect(opening([once], `${opens}:00Z`)).toMatchObject({ tick: opens })
    expect(openingAt([once], at(`${closes}:00Z`) - 1, 'UTC').kind).toBe('open')
    expect(openingAt([once], at(`${closes}:00Z`), 'UTC').kind).toBe('closed')
  })

  it.each([
    ['Europe/Rome', 2, '2026-10-25T00:00'],
    ['America/New_York', 1, '2026-11-01T05:00'],
  ])('%s: a window that ends at the hour that comes twice ends at the first', (timezone, hour, ends) => {
    const before = rule({ startHour: 0, endHour: hour, timezone })
    expect(openingAt([before], at(`${ends}:00Z`) - 1, 'UTC').kind).toBe('open')
    expect(openingAt([before], at(`${ends}:00Z`), 'UTC').kind).toBe('closed')
  })

  it('a night window across the change keeps its local hours', () => {
    const night = rule({ startHour: 22, endHour: 6, crossMidnight: true, intervalMinutes: 60, timezone: 'Europe/Rome' })
    // 22:00 CEST to 06:00 CET: nine hours.
    expect(opening([night], '2026-10-24T19:59:00Z')).toEqual({ closed: '2026-10-24T20:00' })
    expect(opening([night], '2026-10-25T04:59:00Z')).toMatchObject({
      tick: '2026-10-25T04:00',
      next: '2026-10-25T21:00',
    })
    expect(opening([night], '2026-10-25T05:00:00Z')).toEqual({ closed: '2026-10-25T21:00' })
  })

  it('a day that has no midnight starts with its first instant', () => {
    // Beirut moves its clocks at midnight: 2026-03-29 begins at 01:00.
    const sunday = rule({ days: [SUNDAY], intervalMinutes: 60, timezone: 'Asia/Beirut' })
    expect(opening([sunday], '2026-03-28T21:59:00Z')).toEqual({ closed: '2026-03-28T22:00' })
    expect(opening([sunday], '2026-03-28T22:00:00Z')).toMatchObject({ tick: '2026-03-28T22:00' })
  })
})
