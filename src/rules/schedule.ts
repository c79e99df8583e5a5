/**
 * When the rules of an account let it send (spec section 4.6). Pure, in the rule's own time zone. Inside a window
 * dispatch happens at ticks, a grid of interval_minutes from the window's start, so that all instances agree without
 * talking; what became due after a tick waits for the next one.
 */

export interface RuleWindow {
  readonly id: number
  readonly enabled: boolean
  /** The highest number wins; ties the lowest id. */
  readonly priority: number
  /** 0 Monday … 6 Sunday; empty: all. */
  readonly days: readonly number[]
  readonly startHour: number | null
  readonly endHour: number | null
  readonly crossMidnight: boolean
  readonly intervalMinutes: number
  /** null: the service's. */
  readonly timezone: string | null
}

export type Opening =
  /** No rule applies: always. */
  | { readonly kind: 'continuous' }
  /** Inside a window: what was due by `tick` may go; the next tick follows. Epoch ms. */
  | { readonly kind: 'open'; readonly tick: number; readonly nextTick: number; readonly ruleId: number }
  /** Outside all windows until `opensAt`, epoch ms; Infinity: none ever opens. */
  | { readonly kind: 'closed'; readonly opensAt: number }

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export function openingAt(rules: readonly RuleWindow[], now: number, timezone: string): Opening {
  const enabled = rules.filter(rule => rule.enabled)
  if (enabled.length === 0) return { kind: 'continuous' }
  const current = winner(enabled, now, timezone)
  if (current === null)
    return { kind: 'closed', opensAt: nextOpening(enabled, now, timezone) ?? Number.POSITIVE_INFINITY }
  const { rule, start, end } = current
  const step = rule.intervalMinutes * MINUTE
  const tick = start + Math.floor((now - start) / step) * step
  const following = tick + step
  // Past the window's end the next window's start is the next tick.
  const own = following < end ? following : (nextOpening(enabled, Math.max(end, now + 1), timezone) ?? following)
  // A stronger rule takes over when its window opens, whatever this one's grid says.
  const stronger = nextOpening(
    enabled.filter(each => beats(each, rule)),
    now,
    timezone,
  )
  const nextTick = stronger === null ? own : Math.min(own, stronger)
  return { kind: 'open', tick, nextTick: Math.max(nextTick, now + 1), ruleId: rule.id }
}

/** When rules let something go next, epoch ms; null: at any time; Infinity: never. */
export function nextTurn(opening: Opening): number | null {
  if (opening.kind === 'continuous') return null
  return opening.kind === 'open' ? opening.nextTick : opening.opensAt
}

function beats(one: RuleWindow, other: RuleWindow): boolean {
  return one.priority > other.priority || (one.priority === other.priority && one.id < other.id)
}

function winner(rules: readonly RuleWindow[], now: number, timezone: string) {
  let best: { rule: RuleWindow; start: number; end: number } | null = null
  for (const rule of rules) {
    const window = windowAround(rule, now, rule.timezone ?? timezone)
    if (window === null) continue
    const beats =
      best === null ||
      rule.priority > best.rule.priority ||
      (rule.priority === best.rule.priority && rule.id < best.rule.id)
    if (beats) best = { rule, ...window }
  }
  return best
}

/** The window of the rule that holds `now`. After midnight it is still the window of the day it started on. */
function windowAround(rule: RuleWindow, now: number, timezone: string): { start: number; end: number } | null {
  const today = localDay(now, timezone)
  for (const day of rule.crossMidnight ? [today, addDays(today, -1)] : [today]) {
    if (rule.days.length > 0 && !rule.days.includes(weekday(day))) continue
    const start = instantOf(day, rule.startHour === null || rule.endHour === null ? 0 : rule.startHour, timezone)
    const end = endOf(rule, day, timezone)
    if (start <= now && now < end) return { start, end }
  }
  return null
}

function endOf(rule: RuleWindow, day: LocalDay, timezone: string): number {
  if (rule.startHour === null || rule.endHour === null) return instantOf(addDays(day, 1), 0, timezone)
  if (rule.crossMidnight && rule.endHour <= rule.startHour) return instantOf(addDays(day, 1), rule.endHour, timezone)
  return instantOf(day, rule.endHour, timezone)
}

/** The earliest instant at or after `from` at which some window is open, looking eight days ahead. */
function nextOpening(rules: readonly RuleWindow[], from: number, timezone: string): number | null {
  let earliest: number | null = null
  for (const rule of rules) {
    const zone = rule.timezone ?? timezone
    if (windowAround(rule, from, zone) !== null) return from
    const today = localDay(from, zone)
    for (let ahead = 0; ahead <= 8; ahead += 1) {
      const day = addDays(today, ahead)
      if (rule.days.length > 0 && !rule.days.includes(weekday(day))) continue
      const start = instantOf(day, rule.startHour === null || rule.endHour === null ? 0 : rule.startHour, zone)
      if (start < from || endOf(rule, day, zone) <= start) continue
      if (earliest === null || start < earliest) earliest = start
      break
    }
  }
  return earliest
}

interface LocalDay {
  readonly year: number
  readonly month: number
  readonly day: number
}

function weekday({ year, month, day }: LocalDay): number {
  return (new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 6) % 7
}

function addDays({ year, month, day }: LocalDay, days: number): LocalDay {
  const date = new Date(Date.UTC(year, month - 1, day) + days * DAY)
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() }
}

function localDay(at: number, timezone: string): LocalDay {
  const { year, month, day } = localTime(at, timezone)
  return { year, month, day }
}

/**
 * The instant of a local hour; of one that comes twice the first, of one that daylight saving skips the end of the gap.
 * Taken from the offsets in force a day before and after, since the one of the instant itself depends on the answer.
 */
function instantOf({ year, month, day }: LocalDay, hour: number, timezone: string): number {
  const wanted = Date.UTC(year, month - 1, day, hour)
  const before = wanted - offsetAt(wanted - DAY, timezone)
  const after = wanted - offsetAt(wanted + DAY, timezone)
  if (before === after) return before
  const real = [before, after].filter(at => offsetAt(at, timezone) === wanted - at)
  return real.length > 0 ? Math.min(...real) : before
}

function offsetAt(at: number, timezone: string): number {
  const { year, month, day, hour, minute, second } = localTime(at, timezone)
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at / 1000) * 1000
}

const formats = new Map<string, Intl.DateTimeFormat>()

function localTime(at: number, timezone: string) {
  let format = formats.get(timezone)
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
    formats.set(timezone, format)
  }
  const part: Record<string, number> = {}
  for (const { type, value } of format.formatToParts(at)) part[type] = Number(value)
  return {
    year: part.year ?? 0,
    month: part.month ?? 0,
    day: part.day ?? 0,
    hour: part.hour ?? 0,
    minute: part.minute ?? 0,
    second: part.second ?? 0,
  }
}
