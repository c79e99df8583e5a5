/** /openapi.json says what is true where the plugin, or the validating schema, would not. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MESSAGE_FIELDS } from '../../src/messages/parse.js'
import { ATTACHMENT_FIELDS } from '../../src/messages/parse-attachments.js'
import type { OpenApi } from '../support/api-document.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'

describe('the description of the API', () => {
  let http: HttpApp
  let paths: OpenApi['paths']
  beforeAll(async () => {
    http = await openHttpApp('sqlite')
    paths = (await http.call('GET', '/openapi.json', { token: null })).body.paths
  })
  afterAll(() => http.close())
  const bodyOf = (path: string, method = 'post') => paths[path]![method]!.requestBody!

  it('calls a body required only where an empty one is refused', async () => {
    expect(bodyOf('/commands/run-now').required).toBe(false)
    expect(bodyOf('/commands/cleanup-messages').required).toBe(false)
    expect(bodyOf('/tenant/{tenant_id}', 'put').required).toBe(false)
    expect(bodyOf('/tenant').required).toBe(true)
    expect(bodyOf('/commands/add-messages').required).toBe(true)
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, { requestBody }] of Object.entries(methods)) {
        if (requestBody?.required !== true) continue
        const answer = await http.call(method.toUpperCase(), path.replace(/\{\w+\}/g, '1'))
        expect(answer.status, `${method} ${path}`).toBe(422)
      }
    }
  })

  it('shows every field of a message and of an attachment', () => {
    const { messages } = bodyOf('/commands/add-messages').content!['application/json']!.schema!.properties!
    const { properties, required } = messages!.items!
    expect(Object.keys(properties!).sort()).toEqual([...MESSAGE_FIELDS].sort())
    const attachment = JSON.stringify(properties!.attachments)
    for (const field of ATTACHMENT_FIELDS) expect(attachment).toContain(`"${field}":`)
    expect(required).toEqual(['id', 'from', 'to', 'subject'])
  })

  it('shows that a message is judged by none of it', async () => {
    const wrong = [{ id: 5, to: { a: 1 }, priority: [], attachments: 'none' }, 'no message', null]
    const answer = await http.call('POST', '/commands/add-messages', { body: { messages: wrong } })
    expect([answer.status, answer.body.rejected.length]).toEqual([400, 3])
  })

  it('shows what an add-messages that queued nothing answers', () => {
    for (const status of ['400', '429']) {
      const { responses } = paths['/commands/add-messages']!.post!
      const { properties } = responses[status]!.content!['application/json']!.schema!
      expect(Object.keys(properties!)).toEqual(
        expect.arrayContaining(['ok', 'error', 'code', 'detail', 'queued', 'rejected', 'warnings']),
      )
      expect(Object.keys(properties!.rejected!.items!.properties!)).toContain('index')
    }
  })
})
