/** docs/guarantees.md names only tests that are there and settings that exist, and its summary leads to every promise. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SETTING_KEYS, SETTINGS } from '../../src/config-schema.js'

const document = readFileSync('docs/guarantees.md', 'utf8')
const rows = [...document.matchAll(/^\| \[([^\]]+)\]\(#[^)]+\) \| .+ \| (.+) \|$/gm)].map(
  ([, promise = '', tests = '']) => ({
    promise,
    tests,
  }),
)

/** What stands in backquotes and looks so, each once. */
function named(text: string, form: RegExp): string[] {
  const found = [...text.matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word).filter(word => form.test(word))
  return [...new Set(found)].sort()
}

describe('docs/guarantees.md', () => {
  it('names only tests that exist, by their whole path', () => {
    const paths = named(document, /\.(test|long)\.ts$/)
    expect(paths.length).toBeGreaterThan(30)
    expect(paths.filter(path => !existsSync(path))).toEqual([])
  })

  it('has a section for every promise of the summary, and a test beside each', () => {
    const sections = [...document.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading)
    expect(sections).toEqual(['Summary', ...rows.map(({ promise }) => promise), 'What is not promised'])
    for (const { promise, tests } of rows) expect(named(tests, /\.(test|long)\.ts$/), promise).not.toEqual([])
  })

  it('names only settings that exist', () => {
    const known = new Set(SETTING_KEYS.flatMap(key => SETTINGS[key].env))
    const variables = named(document, /^GMP_/)
    expect(variables.length).toBeGreaterThan(5)
    expect(variables.filter(name => !known.has(name))).toEqual([])
  })
})
