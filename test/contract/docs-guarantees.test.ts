/**
 * docs/guarantees.md names only tests that are there and settings that exist. Its summary leads to every promise, whose
 * section begins with the tests that show it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SETTING_KEYS, SETTINGS } from '../../src/config-schema.js'

const document = readFileSync('docs/guarantees.md', 'utf8')
/** Of the summary. */
const promises = [...document.matchAll(/^\| \[([^\]]+)\]\(#[^)]+\) \| .+ \|$/gm)].map(([, promise = '']) => promise)
const sections = document
  .split(/^## /m)
  .slice(1)
  .map(section => ({ heading: section.slice(0, section.indexOf('\n')), paragraphs: section.split('\n\n').slice(1) }))
/** Behind it a table is no longer read in a terminal. */
const WIDEST_ROW = 170

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

  it('has a section for every promise of the summary, which begins with the tests that show it', () => {
    expect(sections.map(({ heading }) => heading)).toEqual(['Summary', ...promises, 'What is not promised'])
    for (const { heading, paragraphs } of sections.slice(1, -1)) {
      const [first = ''] = paragraphs
      expect(first, heading).toMatch(/^Shown by `/)
      expect(named(first, /\.(test|long)\.ts$/), heading).not.toEqual([])
    }
  })

  it('has no row that is too wide to be read', () => {
    const rows = document.split('\n').filter(line => line.startsWith('|'))
    expect(rows.length).toBeGreaterThan(promises.length)
    expect(rows.filter(row => row.length > WIDEST_ROW)).toEqual([])
  })

  it('names only settings that exist', () => {
    const known = new Set(SETTING_KEYS.flatMap(key => SETTINGS[key].env))
    const variables = named(document, /^GMP_/)
    expect(variables.length).toBeGreaterThan(5)
    expect(variables.filter(name => !known.has(name))).toEqual([])
  })
})
