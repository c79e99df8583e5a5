/** The HTTP side of a bench: submits over plain sockets, watches and sets up with undici. */
import { Agent, request } from 'undici'
import { TOKEN } from './child.js'
import { createSubmitting, type Submitting } from './submitting.js'

export interface Client extends Pick<Submitting, 'submit'> {
  post(path: string, fields: Readonly<Record<string, unknown>>): Promise<void>
  get(path: string): Promise<Record<string, unknown>>
  text(path: string): Promise<string>
  close(): Promise<void>
}

export function createClient(url: string, connections: number): Client {
  const dispatcher = new Agent({ connections, pipelining: 1 })
  const submitting = createSubmitting(url, connections)
  const headers = { 'X-API-Token': TOKEN, 'Content-Type': 'application/json' }
  return {
    submit: submitting.submit,
    async post(path, fields) {
      const body = JSON.stringify(fields)
      const answer = await request(`${url}${path}`, { method: 'POST', headers, body, dispatcher })
      const text = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode} ${text.slice(0, 300)}`)
    },
    async get(path) {
      const answer = await request(`${url}${path}`, { headers, dispatcher })
      return (await answer.body.json()) as Record<string, unknown>
    },
    async text(path) {
      return (await request(`${url}${path}`, { headers, dispatcher })).body.text()
    },
    close() {
      submitting.close()
      return dispatcher.close()
    },
  }
}
