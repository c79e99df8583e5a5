/** docs/attachments.md: its requests and lines of config.ini are accepted, its keys and words are those of the sources. */
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KEYS } from '../../src/attachments/stores/settings.js'
import { readIni } from '../../src/config-ini.js'
import { volumeProblem } from '../../src/service/volume-problem.js'
import { readVolumeLines } from '../../src/volumes/config-lines.js'
import { examplesOf, unlike } from '../support/docs-examples.js'
import { ADMIN, type HttpApp, openHttpApp } from '../support/http-app.js'

const text = readFileSync('docs/attachments.md', 'utf8')
const examples = examplesOf(text)
const chapter = (heading: string) => text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''

let http: HttpApp
let tenantKey = ''
beforeAll(async () => {
  http = await openHttpApp('sqlite', { env: { GMP_ATTACHMENT_BASE_DIR: '/srv/mail' } })
  tenantKey = await http.addTenant('acme', { client_base_url: 'https://app.example.com' })
  await http.call('POST', '/account', { body: { id: 'main', tenant_id: 'acme', host: 'smtp.example.com' } })
})
afterAll(() => http.close())

describe('docs/attachments.md', () => {
  it.each(examples)('line $line: $method $path is accepted', async ({ method, path, token, body, status, answer }) => {
    const known = token === '$TENANT_KEY' ? tenantKey : ADMIN
    const asked = await http.call(method, path, { token: known, body: JSON.parse(body) })
    expect([asked.status, unlike(answer, asked.body)]).toEqual([status, null])
    for (const { id, attachments } of JSON.parse(body).messages ?? []) {
      const { message } = (await http.call('GET', `/messages/${id}`, { token: tenantKey })).body
      const modes = attachments.map((each: { fetch_mode?: string }) => each.fetch_mode ?? expect.any(String))
      expect(message.attachments.map((each: { fetch_mode: string }) => each.fetch_mode)).toEqual(modes)
    }
  })

  it('shows every source and every backend', () => {
    const all = examples.map(({ body }) => body).join('\n')
    for (const part of ['base64:', 'document_id', 'https://www', '"filesystem"', 'invoices:2026']) {
      expect(all).toContain(part)
    }
    for (const backend of Object.keys(KEYS)) expect(all).toContain(`"backend": "${backend}"`)
  })

  it('has lines for config.ini that stop no start', () => {
    const blocks = [...text.matchAll(/^```ini\n([\s\S]*?)^```$/gm)].map(match => match[1]!)
    expect(blocks).toHaveLength(1)
    const lines = Object.fromEntries(readIni(blocks[0]!).get('volumes')!)
    const variables: Record<string, string> = {
      GCS_KEY: JSON.stringify({ client_email: 'a@b', private_key: 'k' }),
      AZURE_CONNECTION: 'AccountName=acmefiles;AccountKey=dGhlLWtleQ==',
    }
    for (const [, name = ''] of blocks[0]!.matchAll(/\$\{(\w+)\}/g)) variables[name] ??= 'value'
    const volumes = readVolumeLines(lines, variables)
    expect(new Set(volumes.map(({ backend }) => backend))).toEqual(new Set(Object.keys(KEYS)))
    for (const { name, backend, config } of volumes)
      expect([name, volumeProblem(backend, config, true)]).toEqual([name, null])
  })

  it('lists every key of every backend with its other names', () => {
    const documented: Record<string, Record<string, string[]>> = {}
    let backend = ''
    for (const [, first = '', key = '', star = '', aliases = ''] of chapter('Volumes').matchAll(
      /^\| (?:`(\w+)` )?\| `(\w+)`(\*?)(?: \((.*?)\))? \|/gm,
    )) {
      if (first !== '') backend = first
      documented[backend] ??= {}
      documented[backend]![key + star] = [...aliases.matchAll(/`(\w+)`/g)].map(match => match[1]!)
    }
    const known = Object.entries(KEYS).map(([name, keys]) => [
      name,
      Object.fromEntries(
        Object.entries(keys).map(([key, { required, aliases }]) => [key + (required ? '*' : ''), [...(aliases ?? [])]]),
      ),
    ])
    expect(documented).toEqual(Object.fromEntries(known))
  })

  it('quotes reasons as they are written', () => {
    const sources = readdirSync('src/attachments', { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .map(path => readFileSync(`src/attachments/${path}`, 'utf8'))
      .join('\n')
    const rows = chapter('What is final, what is retried').matchAll(/^\| (`.+`.*) \|.*$/gm)
    const reasons = [...rows].flatMap(([row]) => [...row.matchAll(/`([a-z].*?)`/gi)].map(match => match[1]!))
    expect(reasons.length).toBeGreaterThan(20)
    for (const reason of reasons) {
      // What stands between the parts that vary.
      const parts = reason.split(/…|\d+(?:\.\d)?(?: MB)?|\(.*\)/).map(part => part.trim())
      const missing = parts.filter(part => part.length > 3 && part !== 'times' && !sources.includes(part))
      expect(missing, reason).toEqual([])
    }
  })
})
