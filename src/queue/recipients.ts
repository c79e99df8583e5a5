/** The outcomes of a message's recipients over its attempts. Pure; kept as JSON in messages.recipients. */
import type { RecipientState } from '../messages/message.js'
import type { RecipientVerdict } from './outcome.js'

/** Every address of the envelope with what is known of it after this attempt. What was decided stays. */
export function mergeVerdicts(
  to: readonly string[],
  known: readonly RecipientState[] | null,
  verdicts: readonly RecipientVerdict[],
): RecipientState[] {
  const before = byAddress(known ?? [])
  const told = byAddress(verdicts)
  return to.map(address => {
    const state = before(address)
    const verdict = told(address)
    if (verdict === undefined || (state !== undefined && state.status !== 'open'))
      return state ?? { address, status: 'open', code: null, reply: null }
    const { code, text } = verdict
    if (verdict.verdict === 'accepted') return { address, status: 'accepted', code, reply: text }
    if (verdict.verdict === 'refused') return { address, status: 'refused', code, reply: text }
    return { address, status: 'open', code: code ?? state?.code ?? null, reply: text ?? state?.reply ?? null }
  })
}

/** The usual message has one recipient, for which a map is not worth making. */
function byAddress<T extends { readonly address: string }>(given: readonly T[]): (address: string) => T | undefined {
  if (given.length <= 1) return address => (given[0]?.address === address ? given[0] : undefined)
  const all = new Map(given.map(each => [each.address, each]))
  return address => all.get(address)
}

/** True when they tell more than the message: acceptances that differ only in their words (a queue id) do not. */
export function differ(recipients: readonly RecipientState[]): boolean {
  const first = recipients[0]
  return recipients.some(
    ({ status, code, reply }) =>
      status !== first!.status || code !== first!.code || (status !== 'accepted' && reply !== first!.reply),
  )
}
