/** docs/rate-limiting.md: what it says of providers is what `accounts add --provider` fills in. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { PROVIDERS } from '../../src/cli/commands/accounts/providers.js'

it('docs/rate-limiting.md lists the limits of every provider', () => {
  const rows = PROVIDERS.filter(({ name }) => name !== 'other').map(({ name, limits, limitsFrom }) => {
    const given = [
      [limits.perMinute, 'minute'],
      [limits.perHour, 'hour'],
      [limits.perDay, 'day'],
    ].flatMap(([limit, span]) => (limit === undefined ? [] : [`${limit}/${span}`]))
    return `| \`${name}\` | ${given.join(', ') || 'none'} | ${limitsFrom} |\n`
  })
  expect(rows.length).toBeGreaterThan(8)
  expect(readFileSync('docs/rate-limiting.md', 'utf8')).toContain(rows.join(''))
})
