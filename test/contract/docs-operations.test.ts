/** docs/operations.md: its tables of settings and metrics are those of the sources, word for word. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  defaultAsText,
  OTHER_VARIABLES,
  RETIRED_VARIABLES,
  SETTING_KEYS,
  SETTINGS,
  type Setting,
} from '../../src/config-schema.js'

const document = readFileSync('docs/operations.md', 'utf8')

/** The table under a heading, without its head. */
function tableOf(heading: string): string[] {
  const [, chapter = ''] = document.split(`\n### ${heading}\n`)
  const table = /^\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)/m.exec(chapter)?.[1] ?? ''
  return table.trim().split('\n')
}

describe('docs/operations.md', () => {
  it('lists every setting with its names, default, values and meaning', () => {
    expect(tableOf('Settings')).toEqual(SETTING_KEYS.map(key => settingRow(SETTINGS[key])))
  })

  it('names the other variables and those that are read no more', () => {
    for (const [name, about] of Object.entries(OTHER_VARIABLES)) expect(document).toContain(`\`${name}\`: ${about}`)
    for (const name of Object.keys(RETIRED_VARIABLES)) expect(document).toContain(`\`${name}\``)
  })

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

function settingRow(setting: Setting): string {
  const { env, ini, flag, secret, kind, about, defaultText } = setting
  const names = [
    ...env.map(name => `\`${name}\`${secret === true ? ' (or `_FILE`)' : ''}`),
    ...(flag === undefined ? [] : [`\`${flag}\``]),
  ]
  const place = ini === null ? '' : `\`[${ini[0]}] ${ini[1]}\``
  const fallback = defaultAsText(setting) === '' ? (defaultText ?? 'none') : `\`${defaultAsText(setting)}\``
  return `| ${names.join(', ')} | ${place} | ${fallback} | ${kind.expects} | ${about} |`
}
