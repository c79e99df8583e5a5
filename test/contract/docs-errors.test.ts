/** docs/errors.md lists every stable code there is in the sources, and no other. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const document = readFileSync('docs/errors.md', 'utf8')
const sources = new Map(
  readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.ts') && !path.endsWith('.test.ts'))
    .map(path => [`src/${path}`, readFileSync(`src/${path}`, 'utf8')]),
)

/** Rows of the table under a heading, cell by cell. */
function tableOf(heading: string): string[][] {
  const chapter = document.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  const rows = [...chapter.matchAll(/^\| (`.*) \|$/gm)].map(([, row = '']) => row.split(' | '))
  expect(rows.length, heading).toBeGreaterThan(3)
  return rows
}

function namesIn(rows: readonly string[][]): string[] {
  return rows.flatMap(([cell = '']) => [...cell.matchAll(/`(\w+)`/g)].map(match => match[1]!)).sort()
}

/** What the expressions find in the files whose path begins so, each once. */
function find(prefix: string, ...expressions: RegExp[]): string[] {
  const found = new Set<string>()
  for (const [path, text] of sources) {
    if (!path.startsWith(prefix)) continue
    for (const each of expressions) for (const match of text.matchAll(each)) found.add(match[1]!)
  }
  return [...found].sort()
}

/** The members of `type Name = | 'a' | 'b'`, without those it takes from other types. */
function unionOf(path: string, name: string): string[] {
  const [, members = ''] =
    new RegExp(`type ${name} =\\n?((?:\\s*\\|? ?(?:'\\w+'|\\w+))+)`).exec(sources.get(path) ?? '') ?? []
  return [...members.matchAll(/'(\w+)'/g)].map(match => match[1]!)
}

const httpCodes = unionOf('src/lib/errors.ts', 'ErrorCode')
const rejectionCodes = [
  ...unionOf('src/messages/fields.ts', 'RefusalCode'),
  ...unionOf('src/messages/rejection.ts', 'RejectionCode'),
].sort()

describe('docs/errors.md', () => {
  it('lists the codes of failures with their statuses', () => {
    expect(httpCodes.length).toBeGreaterThan(10)
    // /ready answers by itself, without an AppError.
    const inAnswers = find('src/http/', /\bcode: '([a-z_]+)'/g)
    expect(namesIn(tableOf('Failures of a request'))).toEqual([...new Set([...httpCodes, ...inAnswers])].sort())
    const handler = sources.get('src/http/error-handler.ts') ?? ''
    const statuses = new Map(
      [...handler.matchAll(/^ {2}([a-z_]+): (\d{3}),$/gm)].map(([, code, status]) => [code, status]),
    )
    expect([...statuses.keys()].sort()).toEqual([...httpCodes].sort())
    for (const [code = '', status] of tableOf('Failures of a request')) {
      expect(status, code).toBe(statuses.get(code.replaceAll('`', '')) ?? '503')
    }
  })

  it('lists the codes of rejected messages', () => {
    expect(rejectionCodes.length).toBeGreaterThan(10)
    expect(namesIn(tableOf('Rejected messages'))).toEqual(rejectionCodes)
  })

  it('lists the codes with which messages end', () => {
    const codes = ['src/queue/', 'src/delivery/'].flatMap(folder =>
      find(
        folder,
        /\bcode: '([a-z_]+)'/g,
        /\bcode:.*\?\? '([a-z_]+)'/g,
        /new Undeliverable\([^\n]*, '([a-z_]+)', [^\n]+\)/g,
      ),
    )
    expect(namesIn(tableOf('Messages and reports'))).toEqual([...new Set(codes)].sort())
  })

  it('lists the types of wrong fields', () => {
    const typed = /\btype: '([a-z_]+)'/g
    const types = ['check-schema.ts', 'validate.ts', 'parse-body.ts', 'routes/'].flatMap(path =>
      find(`src/http/${path}`, typed),
    )
    const named = find('src/http/', /wrongField\([^\n]*, '([a-z_]+)'\)/g, /type = '([a-z_]+)'/g)
    expect(namesIn(tableOf('Wrong fields'))).toEqual([...new Set([...types, ...named])].sort())
  })

  it('knows every code that any source file writes down', () => {
    const anywhere = find('src/', /\bcode: '([a-z]+(?:_[a-z]+)+)'/g)
    expect(anywhere.filter(code => !document.includes(`\`${code}\``))).toEqual([])
  })
})
