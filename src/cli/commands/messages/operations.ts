/** `messages delete|retry|cancel|release|discard`: each takes several ids and tells of each what happened. */
import type { Command } from 'commander'
import { type Api, ApiError, withApi } from '../../api.js'
import { createAsk } from '../../ask.js'
import { type Place, withExamples, withJson } from '../../command.js'
import { CliError, ExitWith } from '../../errors.js'
import { show } from '../../output/show.js'
import { fields } from '../../output/table.js'
import { counted, paint } from '../../output/text.js'
import { messagePath } from './record.js'

interface Told {
  readonly id: string
  readonly ok: boolean
  /** What it is now, or why nothing was done. */
  readonly result: string
  readonly code?: string
}

const VERBS = {
  retry: 'try failed or cancelled messages again',
  cancel: 'cancel waiting messages: they are reported as cancelled',
  release: 'send messages again that are held in doubt',
  discard: 'give up messages that are held in doubt: they are reported as errors',
} as const

export function addMessageOperations(messages: Command, place: Place): void {
  for (const [verb, description] of Object.entries(VERBS)) {
    addVerb(messages, place, verb, description, (api, ids) => operate(api, place, verb, ids))
  }
  const deletion = addVerb(
    messages,
    place,
    'delete',
    'delete messages with their history; no report follows',
    async (api, ids, options) => {
      const question = `Delete ${counted(ids.length, 'message')} for good, without a report?`
      if (!options.yes && !(await createAsk(place.io).confirm(question, '--yes'))) {
        throw new CliError('nothing was deleted')
      }
      return deleteAll(api, place, ids)
    },
  )
  deletion.option('-y, --yes', 'do not ask')
}

interface Options {
  readonly json?: boolean
  readonly yes?: boolean
}

function addVerb(
  messages: Command,
  { io, instance, tenant }: Place,
  verb: string,
  description: string,
  work: (api: Api, ids: readonly string[], options: Options) => Promise<readonly Told[]>,
): Command {
  const command = messages
    .command(verb)
    .description(description)
    .argument('<id...>', 'ids of messages')
    .action(async (given: string[], options: Options) => {
      const ids = [...new Set(given)]
      const told = await withApi(io, instance, api => work(api, ids, options))
      show(io, options, { messages: told }, () =>
        fields(
          io,
          told.map(each => [each.id, each.result, text => (each.ok ? text : paint(io, 'red', text))]),
        ),
      )
      if (told.some(each => !each.ok)) throw new ExitWith(1)
    })
  const yes = verb === 'delete' ? ' --yes' : ''
  return withExamples(withJson(command), [
    `mail-proxy ${instance} ${tenant} messages ${verb} invoice-42${yes}`,
    `mail-proxy ${instance} ${tenant} messages ${verb} invoice-42 invoice-43${yes}`,
  ])
}

/** One after the other: a thousand at once would be a thousand requests at once. */
async function operate(api: Api, { tenant }: Place, verb: string, ids: readonly string[]): Promise<Told[]> {
  const told: Told[] = []
  for (const id of ids) {
    try {
      const { status } = await api.call<{ status: string }>('POST', `${messagePath(id)}/${verb}`, {
        query: { tenant_id: tenant },
      })
      told.push({ id, ok: true, result: `${DONE[verb]}: now ${status}` })
    } catch (error) {
      // What a message is refused for concerns no other; that the service is away does.
      if (!(error instanceof ApiError) || error.status >= 500 || error.status === 401) throw error
      told.push({ id, ok: false, result: error.message, code: error.code })
    }
  }
  return told
}

const DONE: Readonly<Record<string, string>> = {
  retry: 'tried again',
  cancel: 'cancelled',
  release: 'released',
  discard: 'given up',
}

async function deleteAll(api: Api, { tenant }: Place, ids: readonly string[]): Promise<Told[]> {
  const answer = await api.call<{ not_found: string[]; in_progress: string[] }>('POST', '/commands/delete-messages', {
    body: { ids, tenant_id: tenant },
  })
  const missing = new Set(answer.not_found)
  const busy = new Set(answer.in_progress)
  return ids.map(id => {
    if (missing.has(id)) return { id, ok: false, result: `Message '${id}' not found`, code: 'not_found' }
    if (busy.has(id)) return { id, ok: false, result: 'is being sent right now', code: 'in_progress' }
    return { id, ok: true, result: 'deleted' }
  })
}
