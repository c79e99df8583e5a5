/** Sending rules in words: days by name, hours as a span. Both ways, for flags and for tables. */
import { UsageError } from '../../errors.js'

export interface Rule {
  readonly id: number
  readonly name?: string
  readonly enabled: boolean
  readonly priority: number
  readonly days: readonly number[]
  readonly start_hour?: number
  readonly end_hour?: number
  readonly cross_midnight: boolean
  readonly interval_minutes: number
  readonly timezone?: string
  readonly tenant_id?: string
  readonly account_id?: string
}

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
const GROUPS: ReadonlyMap<string, readonly number[]> = new Map([
  ['all', []],
  ['weekdays', [0, 1, 2, 3, 4]],
  ['weekend', [5, 6]],
])

/** `mon-fri,sun`, `weekdays`, `0,1,2` → 0 Monday … 6 Sunday, empty for all. Throws UsageError. */
export function parseDays(text: string): readonly number[] {
  const group = GROUPS.get(text.trim().toLowerCase())
  if (group !== undefined) return group
  const days = new Set<number>()
  for (const part of text.toLowerCase().split(',')) {
    const [from = '', to = from] = part.split('-').map(each => each.trim())
    const last = dayOf(to)
    let day = dayOf(from)
    if (day === -1 || last === -1 || part.split('-').length > 2) {
      throw new UsageError(`--days is "${text}": it should be like mon-fri, sat,sun, weekdays, weekend or all`)
    }
    // Saturday to Monday goes over the week's end.
    for (days.add(day); day !== last; days.add(day)) day = (day + 1) % 7
  }
  return [...days].sort()
}

/** `mon-fri`, `mon,wed`, `every day`. */
export function sayDays(days: readonly number[]): string {
  if (days.length === 0 || days.length === 7) return 'every day'
  const isRun = days.length > 2 && days.every((day, i) => i === 0 || day === days[i - 1]! + 1)
  return isRun ? `${DAYS[days[0]!]}-${DAYS[days.at(-1)!]}` : days.map(day => DAYS[day]).join(',')
}

/** `9-18`; `22-6` goes over midnight; `all` is the whole day. Throws UsageError. */
export function parseHours(text: string): {
  readonly start_hour: number | null
  readonly end_hour: number | null
  readonly cross_midnight: boolean
} {
  if (text.trim().toLowerCase() === 'all') return { start_hour: null, end_hour: null, cross_midnight: false }
  const [, from, to] = /^(\d{1,2})(?::00)?\s*-\s*(\d{1,2})(?::00)?$/.exec(text.trim()) ?? []
  const start = Number(from)
  const end = Number(to) === 24 ? 0 : Number(to)
  if (from === undefined || start > 23 || end > 23 || start === end) {
    throw new UsageError(`--hours is "${text}": it should be like 9-18, 22-6 (over midnight) or all`)
  }
  return { start_hour: start, end_hour: end, cross_midnight: start > end }
}

/** `9-18`, `22-6 over midnight`, `all day`. */
export function sayHours({ start_hour: start, end_hour: end, cross_midnight: crosses }: Rule): string {
  if (start === undefined || end === undefined) return 'all day'
  return `${start}-${end}${crosses ? ' over midnight' : ''}`
}

/** Of which mail it speaks. */
export function sayScope({ tenant_id: tenant, account_id: account }: Rule): string {
  if (tenant === undefined && account === undefined) return 'all'
  return [tenant ?? '*', account ?? '*'].join('/')
}

/** In one line, as in `rule 3 "Office hours": mon-fri, 9-18, every 5 min`. */
export function sayRule(rule: Rule): string {
  const name = rule.name === undefined ? '' : ` "${rule.name}"`
  const zone = rule.timezone === undefined ? '' : ` (${rule.timezone})`
  return `rule ${rule.id}${name}: ${sayDays(rule.days)}, ${sayHours(rule)}${zone}, every ${rule.interval_minutes} min`
}

function dayOf(text: string): number {
  if (/^[0-6]$/.test(text)) return Number(text)
  return text.length < 2 ? -1 : DAYS.findIndex(day => text.startsWith(day) && DAY_NAMES[day]!.startsWith(text))
}

const DAY_NAMES: Readonly<Record<string, string>> = {
  mon: 'monday',
  tue: 'tuesday',
  wed: 'wednesday',
  thu: 'thursday',
  fri: 'friday',
  sat: 'saturday',
  sun: 'sunday',
}
