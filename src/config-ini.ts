/**
 * Reads config.ini into sections of plain text. The `ini` package does the syntax; two of its habits are undone first,
 * because a password or a JSON value must not lose its end: `#` and `;` begin a comment only after a space, as they
 * did for the predecessor's parser, and `true`, `false` and `null` stay text.
 */
import { parse } from 'ini'
import { ConfigError } from './lib/errors.js'

export type IniSections = ReadonlyMap<string, ReadonlyMap<string, string>>

/** Sections → keys → text, in file order. Throws ConfigError on a key outside every section, and on a line that cannot be read. */
export function readIni(text: string): IniSections {
  // A line ends where the package lets it end.
  const lines = text
    .replace(/^\ufeff/, '')
    .split(/\r\n|\r|\n/)
    .map(protect)
  const unread = lines.findIndex(isDropped)
  if (unread !== -1) throw new ConfigError(`config.ini: line ${unread + 1} cannot be read`)
  const parsed = parse(lines.join('\n'), { bracketedArray: false })
  const sections = new Map<string, ReadonlyMap<string, string>>()
  for (const [section, content] of Object.entries(parsed)) {
    if (typeof content !== 'object' || content === null) {
      throw new ConfigError(`config.ini: "${shorten(section)}" stands before the first [section]`)
    }
    sections.set(section, new Map(Object.entries(content).map(([key, value]) => [key, toText(section, key, value)])))
  }
  return sections
}

/** Cuts a name or value that goes into an error line. */
export function shorten(text: string): string {
  const visible = JSON.stringify(text).slice(1, -1)
  return visible.length > 80 ? `${visible.slice(0, 77)}…` : visible
}

function protect(line: string): string {
  const trimmed = line.trim()
  if (trimmed === '' || /^[#;]/.test(trimmed)) return ''
  // A dot in a section's name would nest it; ours have none, so the wrong name is shown as it was written.
  if (trimmed.startsWith('[')) return trimmed.replace(/\s[#;].*$/, '').replaceAll('.', '\\.')
  const equals = line.indexOf('=')
  if (equals === -1) return line
  const value = line.slice(equals + 1).trim()
  if (/^(".*"|'.*')$/.test(value)) return line
  const escaped = value
    .replace(/(^|\s)[#;].*$/, '')
    .replaceAll('\\', '\\\\')
    .replace(/[#;]/g, '\\$&')
  return `${line.slice(0, equals)}= ${escaped}`
}

/** What the package passes over in silence: no key, a name that could reach a prototype, and what is no `.` for it. */
function isDropped(line: string): boolean {
  return /^\s*=|[\u2028\u2029]/.test(line) || line.split('=', 1)[0]!.includes('__proto__')
}

function toText(section: string, key: string, value: unknown): string {
  // The package counts a key over all sections: only a list of two or more was repeated within this one.
  if (Array.isArray(value) && value.length === 1) return String(value[0])
  if (Array.isArray(value)) throw new ConfigError(`config.ini [${shorten(section)}] ${shorten(key)} is given twice`)
  if (typeof value === 'object' && value !== null) {
    throw new ConfigError(`config.ini [${shorten(section)}] has a section below it: "${shorten(key)}"`)
  }
  return String(value)
}
