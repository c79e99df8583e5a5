import { describe, expect, it } from 'vitest'
import { UsageError } from '../../errors.js'
import { parseDays, parseHours, sayDays, sayHours } from './words.js'

describe('days', () => {
  it.each([
    ['mon-fri', [0, 1, 2, 3, 4]],
    ['Monday, wed', [0, 2]],
    ['sat-mon', [0, 5, 6]],
    ['weekend', [5, 6]],
    ['all', []],
    ['0,6', [0, 6]],
    ['tues', [1]],
  ])('%s', (text, days) => expect(parseDays(text)).toEqual(days))

  it.each(['', 'm', 'mo-fr', '7', 'mon-tue-wed', 'monkey', 'constructor'])('%j is refused', text => {
    expect(() => parseDays(text)).toThrow(UsageError)
  })

  it('what is said can be given again', () => {
    for (const days of [[0, 1, 2, 3, 4], [5, 6], [0, 2, 4], [3]]) expect(parseDays(sayDays(days))).toEqual(days)
    expect(sayDays([])).toBe('every day')
    expect(sayDays([0, 1, 2, 3, 4, 5, 6])).toBe('every day')
  })
})

describe('hours', () => {
  it('over midnight is seen by itself, and 24 is 0', () => {
    expect(parseHours('9-18')).toEqual({ start_hour: 9, end_hour: 18, cross_midnight: false })
    expect(parseHours('22:00 - 6:00')).toEqual({ start_hour: 22, end_hour: 6, cross_midnight: true })
    expect(parseHours('18-24')).toEqual({ start_hour: 18, end_hour: 0, cross_midnight: true })
    expect(parseHours('all')).toEqual({ start_hour: null, end_hour: null, cross_midnight: false })
  })

  it.each(['9', '9-9', '9-25', '0-24', '9:30-18', '-1-5', ''])('%j is refused', text => {
    expect(() => parseHours(text)).toThrow(UsageError)
  })

  it('are said as a span', () => {
    const rule = { id: 1, enabled: true, priority: 0, days: [], interval_minutes: 1 }
    expect(sayHours({ ...rule, start_hour: 22, end_hour: 6, cross_midnight: true })).toBe('22-6 over midnight')
    expect(sayHours({ ...rule, cross_midnight: false })).toBe('all day')
  })
})
