/** SECURITY.md names only files, tests and settings that there are, and for every attack something that shows the defence. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SETTING_KEYS, SETTINGS } from '../../src/config-schema.js'

const document = readFileSync('SECURITY.md', 'utf8')
/** Of the tables of attacks, without their heads. */
const rows = [...document.matchAll(/^\| ([^|]+) \| ([^|]+) \| ([^|]*`[^|]+) \|$/gm)].map(
  ([, attack = '', , shown = '']) => ({ attack, shown }),
)

/** The files of a cell, each with the parts of tests' names that are quoted behind it. */
function shownBy(cell: string): { readonly file: string; readonly quotes: readonly string[] }[] {
  return [...cell.matchAll(/`([^`]+)`([^`]*)/g)].map(([, file = '', rest = '']) => ({
    file,
    quotes: [...rest.matchAll(/"([^"]+)"/g)].map(([, quote = '']) => quote),
  }))
}

describe('SECURITY.md', () => {
  it('has a test for each attack that it says is defended', () => {
    const tables = document.split('\n').filter(line => line === '| attack | what defends | shown by |')
    const lines = document.split('\n### ').slice(1).join('\n').split('\n')
    const attacks = lines.filter(line => line.startsWith('| ') && !/^\| (attack|---)/.test(line))
    expect(tables.length).toBeGreaterThan(8)
    expect(rows.map(({ attack }) => attack)).toEqual(attacks.map(line => line.split(' | ')[0]!.slice(2)))
    for (const { attack, shown } of rows) {
      expect(
        shownBy(shown).some(({ file }) => file.endsWith('.test.ts')),
        attack,
      ).toBe(true)
    }
  })

  it('quotes tests by the names they have, where they stand', () => {
    const quoted = rows.flatMap(({ shown }) => shownBy(shown))
    expect(quoted.flatMap(({ quotes }) => quotes).length).toBeGreaterThan(30)
    for (const { file, quotes } of quoted) {
      const text = readFileSync(file, 'utf8')
      expect(
        quotes.filter(quote => !text.includes(quote)),
        file,
      ).toEqual([])
    }
  })

  it('names only files and settings that exist', () => {
    const words = [...document.matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word)
    const paths = words.filter(word => /^(src|test|docs|checks)\//.test(word))
    expect(paths.length).toBeGreaterThan(40)
    expect(paths.filter(path => !existsSync(path))).toEqual([])
    const known = new Set(SETTING_KEYS.flatMap(key => SETTINGS[key].env))
    expect(words.filter(word => word.startsWith('GMP_') && !known.has(word))).toEqual([])
  })
})
