/** docs/priorities-and-rules.md: the times in its table are those that the rules give. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseDays, parseHours } from '../../src/cli/commands/rules/words.js'
import { openingAt, type RuleWindow } from '../../src/rules/schedule.js'

const ROME = 'Europe/Rome'
const text = readFileSync('docs/priorities-and-rules.md', 'utf8')
const rows = [...text.matchAll(/^\| `(--[^`]+)` \| (\w{3} [\d-]+ [\d:]+) \| (\w{3} [\d-]+ [\d:]+) \|$/gm)].map(
  ([, flags = '', due = '', goes = '']) => ({ flags, due, goes }),
)

describe('the table of docs/priorities-and-rules.md', () => {
  it('has rows', () => expect(rows.length).toBeGreaterThan(8))

  it.each(rows)('$flags: due $due, goes $goes', ({ flags, due, goes }) => {
    expect(inRome(goesAt(ruleOf(flags), inUtc(due)))).toBe(goes)
  })
})

function ruleOf(flags: string): RuleWindow {
  const given = Object.fromEntries([...flags.matchAll(/--(\w+) (\S+)/g)].map(([, name, value]) => [name, value]))
  const hours = parseHours(given.hours ?? 'all')
  return {
    id: 1,
    enabled: true,
    priority: 0,
    days: parseDays(given.days ?? 'all'),
    startHour: hours.start_hour,
    endHour: hours.end_hour,
    crossMidnight: hours.cross_midnight,
    intervalMinutes: Number(given.interval ?? 1),
    timezone: given.zone ?? null,
  }
}

/** When a message that is due at `due` goes, with nothing before it. */
function goesAt(rule: RuleWindow, due: number): number {
  let at = due
  for (let looks = 0; looks < 100; looks += 1) {
    const opening = openingAt([rule], at, 'UTC')
    if (opening.kind === 'continuous') return at
    if (opening.kind === 'open' && opening.tick >= due) return at
    const next = opening.kind === 'open' ? opening.nextTick : opening.opensAt
    if (next === null) break
    at = next
  }
  throw new Error('it never goes')
}

/** `Tue 2027-03-02 10:20` of Rome's clocks. */
function inRome(at: number): string {
  const parts = new Intl.DateTimeFormat('en-GB', {
    timeZone: ROME,
    weekday: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
  }).formatToParts(at)
  const part = (type: string) => parts.find(each => each.type === type)?.value
  return `${part('weekday')} ${part('year')}-${part('month')}-${part('day')} ${part('hour')}:${part('minute')}`
}

function inUtc(roman: string): number {
  const [, day = '', time = ''] = roman.split(' ')
  const [one, two] = [1, 2].map(ahead => Date.parse(`${day}T${time}:00Z`) - ahead * 3_600_000)
  const found = [one!, two!].find(at => inRome(at) === roman)
  if (found === undefined) throw new Error(`${roman} is no time in Rome`)
  return found
}
