/**
 * Every relative link in the documents leads to a file that is there, and to a heading that it has; every source and test
 * that a document names is there too.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SKIPPED = new Set(['node_modules', 'dist', 'build', 'coverage'])

const documents = documentsUnder(ROOT).map(path => relative(ROOT, path))

describe('every relative link resolves, and every file that is named is there', () => {
  it.each(documents)('in %s', path => {
    expect(brokenLinks(join(ROOT, path))).toEqual([])
    expect(filesNamed(readFileSync(join(ROOT, path), 'utf8')).filter(file => !isThere(file))).toEqual([])
  })

  it('and files are named in many', () => {
    const named = documents.flatMap(path => filesNamed(readFileSync(join(ROOT, path), 'utf8')))
    expect(named.length).toBeGreaterThan(200)
  })
})

describe('the reading of links', () => {
  it('finds inline links, images and references', () => {
    const text = '[a](x.md) ![b](<y z.png> "title")\n[c]: z.md\n[d](p_(q).md#part)'
    expect(linksOf(text)).toEqual(['x.md', 'y z.png', 'p_(q).md#part', 'z.md'])
  })

  it('leaves out code, where a link is only an example', () => {
    expect(linksOf('`[a](no.md)`\n```md\n[b](no.md)\n```\n[c](yes.md)')).toEqual(['yes.md'])
  })

  it('makes the anchors of headings as GitHub does', () => {
    expect([...anchorsOf('# A `code` word!\n## Same\n## Same\n```\n# no heading\n```')]).toEqual([
      'a-code-word',
      'same',
      'same-1',
    ])
  })
})

function documentsUnder(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap(entry => {
    if (entry.name.startsWith('.') || SKIPPED.has(entry.name)) return []
    const path = join(dir, entry.name)
    if (entry.isDirectory()) return documentsUnder(path)
    return entry.name.endsWith('.md') ? [path] : []
  })
}

function brokenLinks(path: string): string[] {
  return linksOf(readFileSync(path, 'utf8')).filter(link => {
    // A scheme, or `//host`: not ours to follow.
    if (/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(link)) return false
    const [file = '', anchor] = decodeURIComponent(link).split('#')
    const target = file === '' ? path : resolve(dirname(path), file)
    // What lies outside the repository resolves on the machine of its author only.
    if (relative(ROOT, target).startsWith('..') || !existsSync(target)) return true
    if (!anchor || !target.endsWith('.md')) return false
    return !anchorsOf(readFileSync(target, 'utf8')).has(anchor)
  })
}

/** Sources and tests in backquotes, with at least one folder before them. */
function filesNamed(text: string): string[] {
  return [...withoutFences(text).matchAll(/`((?:[\w.-]+\/)+[\w.-]+\.(?:ts|mjs|cjs|sql|md))`/g)].map(
    ([, file = '']) => file,
  )
}

/** Sources are often named without `src/`. */
function isThere(file: string): boolean {
  return existsSync(join(ROOT, file)) || existsSync(join(ROOT, 'src', file))
}

function linksOf(text: string): string[] {
  const prose = withoutCode(text)
  const inline = prose.matchAll(/\]\(\s*(?:<([^<>\n]*)>|((?:[^\s()<>]|\([^\s()]*\))+))(?:\s+["'][^"'\n]*["'])?\s*\)/g)
  const references = prose.matchAll(/^ {0,3}\[[^\]\n]+\]:\s*(\S+)/gm)
  return [...[...inline].map(match => match[1] ?? match[2] ?? ''), ...[...references].map(match => match[1] ?? '')]
}

function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, heading = ''] of withoutFences(text).matchAll(/^#{1,6}\s+(.+)$/gm)) {
    const base = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-')
    let anchor = base
    for (let n = 1; anchors.has(anchor); n += 1) anchor = `${base}-${n}`
    anchors.add(anchor)
  }
  return anchors
}

function withoutCode(text: string): string {
  return withoutFences(text).replace(/(`+)(?!`)[\s\S]*?[^`]\1(?!`)/g, '')
}

function withoutFences(text: string): string {
  return text.replace(/^ {0,3}(`{3,}|~{3,})[^\n]*\n[\s\S]*?^ {0,3}\1[^\n]*$/gm, '')
}
