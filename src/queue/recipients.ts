/** The outcomes of a message's recipients over its attempts. Pure; kept as JSON in messages.recipients. */
import type { RecipientState } from '../messages/message.js'
import type { RecipientVerdict } from './outcome.js'

/** Every address of the envelope with what is known of it after this attempt. What was decided stays. */
export function mergeVerdicts(
  to: readonly string[],
  known: readonly RecipientState[] | null,
  verdicts: readonly RecipientVerdict[],
): RecipientState[] {
  const before = new Map(known?.map(each => [each.address, each]))
  const told = new Map(verdicts.map(each => [each.address, each]))
  return to.map(address => {
    const state = before.get(address) ?? { address, status: 'open' as const, code: null, reply: null }
    const verdict = told.get(address)
    if (state.status !== 'open' || verdict === undefined) return state
    const { code, text } = verdict
    if (verdict.verdict === 'accepted') return { address, status: 'accepted', code, reply: text }
    if (verdict.verdict === 'refused') return { address, status: 'refused', code, reply: text }
    return { address, status: 'open', code: code ?? state.code, reply: text ?? state.reply }
  })
}

/** True when they tell more than the message: acceptances that differ only in their words (a queue id) do not. */
export function differ([first, ...others]: readonly RecipientState[]): boolean {
  if (first === undefined) return false
  return others.some(
    ({ status, code, reply }) =>
      status !== first.status || code !== first.code || (status !== 'accepted' && reply !== first.reply),
  )
}
