/** The answer of add-messages: success when something was queued or all was sent before, else a failure with the same body. */
import type { Accepted } from '../../messages/accept.js'
import type { Rejection } from '../../messages/rejection.js'

export function answerAccepted(accepted: Accepted): { status: number; body: Record<string, unknown> } {
  const { queued, rejected, warnings } = accepted
  const told = warnings.length === 0 ? { queued, rejected } : { queued, rejected, warnings }
  // A client that repeats a request whose answer it lost has done nothing wrong.
  if (queued > 0 || rejected.every(each => each.code === 'already_sent')) {
    return { status: 200, body: { ok: true, ...told } }
  }
  const isQuota = rejected.every(each => each.code === 'quota_exceeded')
  const body = {
    ok: false,
    ...told,
    error: `No message was queued: ${summary(rejected)}`,
    code: isQuota ? 'quota_exceeded' : 'command_failed',
    // As the predecessor had it.
    detail: { error: null, rejected },
  }
  return { status: isQuota ? 429 : 400, body }
}

function summary(rejected: readonly Rejection[]): string {
  const reasons = [...new Set(rejected.map(each => each.reason))]
  return reasons.length > 3 ? `${reasons.slice(0, 3).join('; ')}; …` : reasons.join('; ')
}
