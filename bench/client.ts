/** The HTTP side of a bench: submits and watches with plain keep-alive connections. */
import { Agent, request } from 'undici'
import { TOKEN } from './child.js'

export interface Client {
  post(path: string, body: unknown): Promise<number>
  get(path: string): Promise<Record<string, unknown>>
  close(): Promise<void>
}

export function createClient(url: string, connections: number): Client {
  const dispatcher = new Agent({ connections, pipelining: 1 })
  const headers = { 'X-API-Token': TOKEN, 'Content-Type': 'application/json' }
  return {
    async post(path, body) {
      const from = performance.now()
      const answer = await request(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body), dispatcher })
      const text = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode} ${text.slice(0, 300)}`)
      return performance.now() - from
    },
    async get(path) {
      const answer = await request(`${url}${path}`, { headers, dispatcher })
      return (await answer.body.json()) as Record<string, unknown>
    },
    close: () => dispatcher.close(),
  }
}

let serial = 0

/** Messages of about 2 KB on the wire. */
export function messages(count: number, fields: Record<string, unknown> = {}): Record<string, unknown>[] {
  return Array.from({ length: count }, () => {
    serial += 1
    return {
      id: `bench-${serial}`,
      tenant_id: 'default',
      account_id: 'main',
      from: 'Bench <bench@example.com>',
      to: [`recipient-${serial}@example.net`],
      subject: `Message ${serial} of the bench`,
      body: BODY,
      ...fields,
    }
  })
}

const BODY = `${'The quick brown fox jumps over the lazy dog and back again.\r\n'.repeat(28)}`

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}
