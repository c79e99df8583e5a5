/** The HTTP side of a bench: submits and watches with plain keep-alive connections. */
import { Agent, request } from 'undici'
import { TOKEN } from './child.js'

export interface Client {
  /** Answers how long it took, ms. A Buffer goes as it is: made before the clock was started. */
  post(path: string, body: unknown): Promise<number>
  get(path: string): Promise<Record<string, unknown>>
  text(path: string): Promise<string>
  close(): Promise<void>
}

export function createClient(url: string, connections: number): Client {
  const dispatcher = new Agent({ connections, pipelining: 1 })
  const headers = { 'X-API-Token': TOKEN, 'Content-Type': 'application/json' }
  return {
    async post(path, body) {
      const from = performance.now()
      const bytes = Buffer.isBuffer(body) ? body : JSON.stringify(body)
      const answer = await request(`${url}${path}`, { method: 'POST', headers, body: bytes, dispatcher })
      const text = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode} ${text.slice(0, 300)}`)
      return performance.now() - from
    },
    async get(path) {
      const answer = await request(`${url}${path}`, { headers, dispatcher })
      return (await answer.body.json()) as Record<string, unknown>
    },
    async text(path) {
      return (await request(`${url}${path}`, { headers, dispatcher })).body.text()
    },
    close: () => dispatcher.close(),
  }
}
