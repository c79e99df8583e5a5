/** docs/operations.md quotes the log as it is written. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const document = readFileSync('docs/operations.md', 'utf8')

/** The table under a heading, without its head. */
function tableOf(heading: string): string[] {
  const [, chapter = ''] = document.split(`\n### ${heading}\n`)
  const table = /^\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)/m.exec(chapter)?.[1] ?? ''
  return table.trim().split('\n')
}

describe('docs/operations.md', () => {
  it('quotes log lines as they are written', () => {
    const sources = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .map(path => readFileSync(`src/${path}`, 'utf8'))
      .join('\n')
    const lines = tableOf('Log lines').map(row => /^\| (\w+) \| `(.+?)` \|/.exec(row)!)
    expect(lines.length).toBeGreaterThan(15)
    for (const [, , line = ''] of lines) {
      // What stands between the parts that vary.
      const parts = line.split(/…| [nm] | ahead\/back /).filter(part => part.trim().length > 3)
      expect(
        parts.filter(part => !sources.includes(part)),
        line,
      ).toEqual([])
    }
  })
})
