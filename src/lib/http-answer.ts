/** What is taken from an HTTP exchange that a stranger answers: so much of the body, and of a failure no text. */
import type { Readable } from 'node:stream'
import { GuardError } from './network-guard.js'

/** A body as text; null when it is longer than that, and its connection is given up. */
export async function readBounded(body: Readable, maxBytes: number): Promise<string | null> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length
    // Leaving the loop destroys the body and with it the connection.
    if (sizeBytes > maxBytes) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Why no answer came. A code and no text: messages of the network stack may quote what they were given. */
export function causeOf(error: unknown): string {
  if (error instanceof GuardError) return 'the endpoint has no address this service may connect to'
  const { code, name, cause } = error as { code?: unknown; name?: unknown; cause?: { code?: unknown } }
  return String(code ?? cause?.code ?? name ?? 'unknown failure')
}
