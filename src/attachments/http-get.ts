/**
 * One GET of a file over HTTP with its redirects, at most five. Each hop connects through the dispatcher it is given, so
 * a guarded one judges each. Credentials stay with the origin they were meant for.
 */

import { Agent, type Dispatcher, request } from 'undici'
import { guardedConnector } from '../lib/guarded-http.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import { urlOf } from '../lib/url.js'
import { AttachmentFailure } from './failure.js'
import { answered } from './stores/failure-of.js'
import type { StoredFile } from './stores/store.js'
import { discard } from './stores/transfer.js'

const MAX_REDIRECTS = 5
const REDIRECTS = new Set([301, 302, 303, 307, 308])

/** Connections without time limits of their own but for connecting; whoever asks holds the watch. */
export function openDispatcher(guard: NetworkGuard | null, timeoutMs: number): Agent {
  return new Agent({
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: guard === null ? { timeout: timeoutMs, rejectUnauthorized: true } : guardedConnector(guard, timeoutMs),
  })
}

/** `headers` go to the origin of `start` alone: after a redirect elsewhere they are dropped for good. */
export async function getFollowing(
  dispatcher: Dispatcher,
  start: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<StoredFile> {
  let url = start
  let ownHeaders = headers
  for (let redirects = 0; ; redirects += 1) {
    const answer = await request(url, {
      dispatcher,
      signal,
      // Octets as they are stored: their size and their MD5 are those of the file.
      headers: { 'user-agent': 'genro-mail-proxy', ...ownHeaders, 'accept-encoding': 'identity' },
    })
    if (!REDIRECTS.has(answer.statusCode)) return fileOf(answer)
    discard(answer.body)
    if (redirects === MAX_REDIRECTS) throw permanent(`the server redirected more than ${MAX_REDIRECTS} times`)
    const next = redirectTarget(answer.headers.location, url)
    if (next.origin !== start.origin) ownHeaders = {}
    url = next
  }
}

/** The answer to a GET as a file; anything but a whole one is a failure. */
export function fileOf({ statusCode, headers, body }: Dispatcher.ResponseData): StoredFile {
  if (statusCode !== 200) {
    discard(body)
    throw answered(statusCode)
  }
  // Chunks are put together below; any other transfer coding would be left in the octets.
  if (
    isCoded(headers['content-encoding'], 'identity') ||
    isCoded(headers['transfer-encoding'], 'identity', 'chunked')
  ) {
    discard(body)
    throw permanent('the server sent it compressed without being asked')
  }
  const announced = headers['content-length']
  return { sizeBytes: typeof announced === 'string' ? Number(announced) : null, body }
}

/** Whether the header names a coding that is none of these. */
function isCoded(header: string | string[] | undefined, ...plain: readonly string[]): boolean {
  const codings = [header ?? ''].flat().flatMap(line => line.split(','))
  return codings.some(each => !['', ...plain].includes(each.trim().toLowerCase()))
}

function redirectTarget(location: string | string[] | undefined, from: URL): URL {
  const url = typeof location === 'string' ? urlOf(location, from) : null
  if (url === null || !/^https?:$/.test(url.protocol)) throw permanent('the server redirected to no http or https URL')
  url.username = ''
  url.password = ''
  return url
}

function permanent(reason: string): AttachmentFailure {
  return new AttachmentFailure(reason, 'permanent')
}
