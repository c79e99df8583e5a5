/** `mail-proxy <instance> [tenant] suspend|activate`: the whole scheduler, a tenant, or one batch of it. */
import type { Command } from 'commander'
import { withApi } from '../api.js'
import { type Place, withExamples, withJson } from '../command.js'
import { show } from '../output/show.js'
import { counted } from '../output/text.js'

interface Suspension {
  readonly active: boolean
  readonly suspended_batches: readonly string[]
  readonly pending_messages: number
}

export function addSuspend(program: Command, place: Place): void {
  addSwitch(program, place, 'suspend', `hold back ${whatOf(place)}; what is being sent still goes`)
}

export function addActivate(program: Command, place: Place): void {
  addSwitch(program, place, 'activate', `end a suspension of ${whatOf(place)}`)
}

function whatOf({ tenant }: Place): string {
  return tenant === null ? 'all mail of all tenants' : 'the mail of this tenant, or of one batch'
}

interface Options {
  readonly batch?: string
  readonly json?: boolean
}

function addSwitch(program: Command, place: Place, verb: 'suspend' | 'activate', description: string): void {
  const { io, instance, tenant } = place
  const words = `mail-proxy ${tenant === null ? instance : `${instance} ${tenant}`} ${verb}`
  const command = program
    .command(verb)
    .description(description)
    .action(async (options: Options) => {
      const answer = await withApi(io, instance, api =>
        api.call<Suspension>('POST', `/commands/${verb}`, { body: { tenant_id: tenant, batch_code: options.batch } }),
      )
      show(io, options, answer, () => tell(place, verb, options.batch, answer))
    })
  if (tenant !== null) command.option('--batch <code>', 'only this batch')
  withExamples(withJson(command), tenant === null ? [words] : [words, `${words} --batch winter-2027`])
}

function tell({ instance, tenant }: Place, verb: string, batch: string | undefined, answer: Suspension): string {
  const what = `${tenant ?? instance}${batch === undefined ? '' : `, batch ${batch},`}`
  const waiting = `${counted(answer.pending_messages, 'message')} waiting`
  if (verb === 'suspend') return `${what} is suspended, ${waiting}\n`
  // The list of all is that of the tenant: only the switch above it is left.
  if (answer.active) return `${what} may send, ${waiting}\n`
  return `${what} is suspended no more, but the whole scheduler is: \`mail-proxy ${instance} activate\`; ${waiting}\n`
}
