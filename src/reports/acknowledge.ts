/**
 * What a client's answer to a delivery report means (spec section 5). Pure and total: the answer is hostile input of
 * at most a megabyte, and whatever it holds this returns a verdict.
 */

export type Verdict =
  | {
      readonly acknowledged: true
      /** Message ids the client wants again; every other entry of the batch is acknowledged, `not_found` included. */
      readonly again: ReadonlySet<string>
      /** The client has more to submit and asks to be called again at once. */
      readonly wantsSync: boolean
      /** Do not disturb until then (epoch ms) while nothing is pending; null ends it; undefined: it said nothing. */
      readonly quietUntil: number | null | undefined
    }
  | { readonly acknowledged: false; readonly cause: string }

/** A slip (milliseconds for seconds, a year 9999) must not silence the idle calls for good. */
const LONGEST_QUIET_MS = 366 * 24 * 3600 * 1000

export function judgeAnswer(answer: { readonly status: number; readonly body: string }, now: number): Verdict {
  if (answer.status < 200 || answer.status > 299) return refused(`HTTP ${answer.status}`)
  const fields = parseObject(answer.body)
  if (fields === null) return refused(`HTTP ${answer.status} without a JSON object`)
  // "false", 0 and null are said by clients that mean no: whatever is not plainly yes acknowledges nothing.
  if (fields.ok !== undefined && fields.ok !== true) {
    return refused(`HTTP ${answer.status} with ${fields.ok === false ? 'ok: false' : 'an ok that is not true'}`)
  }
  return {
    acknowledged: true,
    again: messageIds(fields.error),
    wantsSync: (numberOf(fields.queued) ?? 0) > 0,
    quietUntil: quietUntil(fields.next_sync_after, now),
  }
}

function refused(cause: string): Verdict {
  return { acknowledged: false, cause }
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

/** A list of ids, or of objects that carry one; anything else in it names no message. */
function messageIds(list: unknown): ReadonlySet<string> {
  const ids = new Set<string>()
  if (!Array.isArray(list)) return ids
  for (const item of list as unknown[]) {
    const id = typeof item === 'object' && item !== null ? (item as { id?: unknown }).id : item
    if (typeof id === 'string' || typeof id === 'number') ids.add(String(id))
  }
  return ids
}

/** Unix seconds as a number or a numeric string, or an ISO 8601 instant. */
function quietUntil(value: unknown, now: number): number | null | undefined {
  if (value === undefined) return undefined
  const seconds = numberOf(value)
  const at = seconds !== null ? seconds * 1000 : typeof value === 'string' ? Date.parse(value) : Number.NaN
  if (Number.isNaN(at)) return value === null ? null : undefined
  return at <= now ? null : Math.floor(Math.min(at, now + LONGEST_QUIET_MS))
}

function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value !== 'string' || value.trim() === '') return null
  const number = Number(value)
  return Number.isFinite(number) ? number : null
}
