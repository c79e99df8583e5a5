/** Ways to put load on the service, and to wait until it has done its work. */
import type { Client } from './client.js'
import { pause } from './times.js'

/** Sends all requests over so many connections, each as soon as the one before is answered. The durations, ms. */
export async function submit(client: Client, made: readonly Buffer[], connections = 4): Promise<number[]> {
  const times: number[] = []
  let next = 0
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (next < made.length) {
        next += 1
        times.push(await client.submit(made[next - 1]!))
      }
    }),
  )
  return times
}

/** Open loop: one call every 1/rate seconds whatever the answers take. From when each was due, ms: waiting is not hidden. */
export async function openLoop(
  count: number,
  rate: number,
  call: (index: number) => Promise<unknown>,
): Promise<number[]> {
  const start = performance.now()
  const calls: Promise<number>[] = []
  for (let i = 0; i < count; i += 1) {
    const due = start + (i * 1000) / rate
    const wait = due - performance.now()
    if (wait > 0) await pause(wait)
    calls.push(call(i).then(() => performance.now() - due))
  }
  return Promise.all(calls)
}

/** Resolves when nothing is open any more. */
export async function untilEmpty(client: Client, onLook = () => {}): Promise<void> {
  while (await isOpen(client)) {
    onLook()
    await pause(50)
  }
}

/** The counter behind /status is cached for a second; a look at the open ones is not. */
async function isOpen(client: Client): Promise<boolean> {
  const { messages } = (await client.get('/messages?active_only=true&limit=1')) as { messages: unknown[] }
  return messages.length > 0
}

/** Messages that a server took, by the service's own count. */
export async function sentSoFar(client: Client): Promise<number> {
  const lines = (await client.text('/metrics')).split('\n').filter(line => line.startsWith('gmp_sent_total'))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
