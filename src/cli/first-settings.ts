/**
 * The config.ini of a new instance: what its first start was told, and the port it got. So the next start needs no flags
 * and an application finds the instance where it was.
 */
import { join } from 'node:path'
import { SETTINGS, type SettingKey } from '../config-schema.js'
import { createPrivate } from '../lib/private-file.js'
import type { LoadedConfig } from '../load-config.js'

const KEPT: readonly SettingKey[] = ['server.host', 'server.port', 'database.url']

/** Leaves a config.ini that is there alone. `url`: where it listens. */
export function keepFirstSettings(dir: string, loaded: LoadedConfig, url: string): void {
  const lines = firstSettings(loaded, url)
  if (lines !== null) createPrivate(join(dir, 'config.ini'), lines)
}

/** The text of the file; null when nothing is worth keeping. Values from the environment stay there. */
export function firstSettings({ config, sources }: LoadedConfig, url: string): string | null {
  const bySection = new Map<string, string[]>()
  for (const key of KEPT) {
    const value = keptValue(key)
    const place = SETTINGS[key].ini
    if (value === null || place === null) continue
    bySection.set(place[0], [...(bySection.get(place[0]) ?? []), `${place[1]} = ${quoted(value)}`])
  }
  if (bySection.size === 0) return null
  const sections = [...bySection].map(([section, lines]) => `\n[${section}]\n${lines.join('\n')}\n`)
  return `# Made by the first start of this instance. Every key is explained in config.ini.example.\n${sections.join('')}`

  function keptValue(key: SettingKey): string | null {
    const source = sources.get(key)
    if (key === 'server.port') {
      // Port 0 asks for another one each time.
      const isKept = source === 'default' || (source === 'flag' && config.server.port !== 0)
      return isKept ? new URL(url).port : null
    }
    if (source !== 'flag') return null
    return key === 'server.host' ? config.server.host : config.database.url
  }
}

/** A `#` or `;` after a space would begin a comment. */
function quoted(value: string): string {
  return /(^|\s)[#;]|^["']|["']$/.test(value) ? JSON.stringify(value) : value
}
