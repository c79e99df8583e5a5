/** docs/oauth2.md: its accounts are taken as written, and the words it quotes are those that the service says. */
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { examplesOf } from '../support/docs-examples.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'

const text = readFileSync('docs/oauth2.md', 'utf8')
let http: HttpApp

beforeAll(async () => {
  http = await openHttpApp('sqlite')
  await http.addTenant('acme')
})
afterAll(() => http.close())

describe('docs/oauth2.md', () => {
  it.each(examplesOf(text))(
    'line $line: $method $path answers as written',
    async ({ method, path, body, status, answer }) => {
      const given = await http.call(method, path, { body })
      expect([given.status, given.body]).toEqual([status, answer])
    },
  )

  it('has an account for each provider', () => {
    expect(examplesOf(text).map(({ body }) => JSON.parse(body).oauth2.provider)).toEqual(['google', 'microsoft'])
  })

  it('quotes the words of the service', () => {
    const sources = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .map(path =>
        readFileSync(`src/${path}`, 'utf8').replaceAll("BEARER_MECHANISMS.join(' or ')", 'XOAUTH2 or OAUTHBEARER'),
      )
      .join('\n')
    const chapter = text.split('\n## When it fails\n')[1]?.split('\n## ')[0] ?? ''
    const quoted = [...chapter.matchAll(/`((?:Token endpoint|the |The token)[^`]+)`/g)].map(match => match[1]!)
    expect(quoted.length).toBeGreaterThan(6)
    for (const words of quoted) {
      const parts = words
        .split(/…|\d{3}.*/)
        .map(part => part.trim())
        .filter(part => part.length > 3)
      expect(
        parts.filter(part => !sources.includes(part)),
        words,
      ).toEqual([])
    }
  })
})
