/** docs/configuration.md: its tables are those of the sources, its errors and its example what the program says. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  defaultAsText,
  OTHER_VARIABLES,
  RETIRED_VARIABLES,
  SETTING_KEYS,
  SETTINGS,
  type Setting,
} from '../../src/config-schema.js'
import { MAIN, tempDir } from '../support/process.js'
import { opened } from '../support/scene.js'

const document = readFileSync('docs/configuration.md', 'utf8')
const [, iniExample = ''] = /^```ini\n([\s\S]*?)^```$/m.exec(document) ?? []

describe('docs/configuration.md', () => {
  it('lists every setting with its names, default, values and meaning', () => {
    const [, chapter = ''] = document.split('\n## Settings\n')
    const table = /^\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)/m.exec(chapter)?.[1] ?? ''
    expect(table.trim().split('\n')).toEqual(SETTING_KEYS.map(key => settingRow(SETTINGS[key])))
  })

  it('names the other variables and those that are read no more', () => {
    for (const [name, about] of Object.entries(OTHER_VARIABLES)) expect(document).toContain(`\`${name}\`: ${about}`)
    for (const name of Object.keys(RETIRED_VARIABLES)) expect(document).toContain(`\`${name}\``)
  })

  it('shows of its config.ini what the command shows', async () => {
    const { shop, tokenFile } = await openFolder(iniExample)
    const shown = shop(['config', '--only-set'], { GMP_RETRY_DELAYS: '30,60', GMP_API_TOKEN_FILE: tokenFile })
    expect(shown.status).toBe(0)
    const [table = ''] = shown.stdout.split('\n\n')
    expect(document).toContain(`\`\`\`text\n${table.trimEnd()}\n\`\`\``)
  })

  it('quotes errors and warnings as they are said', async () => {
    const wrongValue = (await openFolder(iniExample)).shop(['config', 'check'], { GMP_SYNC_INTERVAL: 'soon' })
    const wrongKey = (await openFolder('[server]\napi_tokn = x\n')).shop(['config', 'check'])
    const wrongName = (await openFolder(iniExample)).shop(['config', 'check'], { GMP_SYNC_INTERVALL: '5' })
    expect([wrongValue.status, wrongKey.status, wrongName.status]).toEqual([1, 1, 0])
    const [warning = ''] = wrongName.stdout.split('\n')
    expect(document).toContain(`\`\`\`text\n${wrongValue.stderr}${wrongKey.stderr}${warning}\n\`\`\``)
  })
})

/** The folder of an instance `shop` with this config.ini, and the program on it. */
async function openFolder(ini: string) {
  const { dir: home } = await opened(tempDir(), each => each.remove())
  const folder = join(home, '.mail-proxy/shop')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.ini'), ini)
  const tokenFile = join(home, 'token')
  writeFileSync(tokenFile, 'a-token\n')
  return {
    tokenFile,
    shop: (words: readonly string[], env: Record<string, string> = {}) =>
      spawnSync(process.execPath, [MAIN, 'shop', ...words], { env: { HOME: home, ...env }, encoding: 'utf8' }),
  }
}

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
