/** `mail-proxy <instance> rules …`: when mail may be sent. */
import { type Command, Option } from 'commander'
import { type Api, withApi } from '../../api.js'
import { type Place, withExamples, withJson } from '../../command.js'
import { CliError, UsageError } from '../../errors.js'
import { show } from '../../output/show.js'
import { table } from '../../output/table.js'
import { paint } from '../../output/text.js'
import { parseDays, parseHours, type Rule, sayDays, sayHours, sayRule, sayScope } from './words.js'

interface RuleFlags {
  readonly name?: string
  readonly days?: string
  readonly hours?: string
  readonly interval?: string
  readonly zone?: string
  readonly priority?: string
  readonly tenant?: string
  readonly account?: string
  readonly disabled?: boolean
  readonly json?: boolean
}

export function addRules(program: Command, place: Place): void {
  const rules = program.command('rules').description('windows in which mail is sent')
  addListing(rules, place)
  addAdd(rules, place)
  addUpdate(rules, place)
  for (const verb of ['enable', 'disable', 'delete'] as const) addVerb(rules, place, verb)
}

function addListing(rules: Command, { io, instance }: Place): void {
  const command = rules
    .command('list')
    .description('all rules; where several are open the highest priority counts')
    .action(async (options: { json?: boolean }) => {
      const found = await withApi(io, instance, listRules)
      show(io, options, { rules: found }, () =>
        table(
          io,
          found,
          [
            { title: 'RULE', of: each => each.id, whole: true },
            { title: 'NAME', of: each => each.name },
            {
              title: 'ON',
              of: each => (each.enabled ? 'yes' : 'no'),
              whole: true,
              paint: text => (text === 'no' ? paint(io, 'gray', text) : text),
            },
            { title: 'PRIO', of: each => each.priority, align: 'right', whole: true },
            { title: 'DAYS', of: each => sayDays(each.days), whole: true },
            { title: 'HOURS', of: sayHours, whole: true },
            { title: 'EVERY', of: each => `${each.interval_minutes} min`, align: 'right', whole: true },
            { title: 'ZONE', of: each => each.timezone },
            { title: 'FOR', of: sayScope },
          ],
          `there is no rule: mail is sent at any time; \`mail-proxy ${instance} rules add\` makes one`,
        ),
      )
    })
  withExamples(withJson(command), [`mail-proxy ${instance} rules list`])
}

function addAdd(rules: Command, { io, instance }: Place): void {
  const command = addRuleFlags(rules.command('add'))
    .description('a new rule; with one, its accounts send only inside their windows')
    .option('--disabled', 'not in force yet')
    .action(async (flags: RuleFlags) => {
      const body = { ...fieldsOf(flags), enabled: flags.disabled !== true }
      const made = await withApi(io, instance, async api => {
        const before = new Set((await listRules(api)).map(each => each.id))
        const answer = await api.call<{ rules: readonly Rule[] }>('POST', '/commands/rules', { body })
        return answer.rules.filter(each => !before.has(each.id)).sort((a, b) => a.id - b.id)[0]
      })
      if (made === undefined) throw new CliError('the rule was made and deleted at once by somebody else')
      show(io, flags, made, () => `${sayRule(made)}, for ${sayScope(made)}\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} rules add --name 'Office hours' --days mon-fri --hours 9-18 --zone Europe/Rome`,
    `mail-proxy ${instance} rules add --hours 22-6 --interval 15 --tenant acme --account newsletter`,
  ])
}

function addUpdate(rules: Command, { io, instance }: Place): void {
  const command = addRuleFlags(rules.command('update'))
    .description('change the fields given; an empty value sets one back')
    .argument('<rule>', 'number of the rule')
    .action(async (given: string, flags: RuleFlags) => {
      const body = fieldsOf(flags)
      if (Object.keys(body).length === 0) throw new CliError('nothing to change was given; see --help')
      const rule = await withApi(io, instance, api => change(api, given, body))
      show(io, flags, rule, () => `${sayRule(rule)}, for ${sayScope(rule)}\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} rules update 1 --hours 8-20`,
    `mail-proxy ${instance} rules update 1 --days '' --account ''`,
  ])
}

const VERBS = {
  enable: 'put rules into force',
  disable: 'take rules out of force; they stay',
  delete: 'delete rules',
} as const

function addVerb(rules: Command, { io, instance }: Place, verb: keyof typeof VERBS): void {
  const command = rules
    .command(verb)
    .description(VERBS[verb])
    .argument('<rule...>', 'numbers of the rules')
    .action(async (given: string[], options: { json?: boolean }) => {
      const ids = await withApi(io, instance, async api => {
        const done: number[] = []
        for (const each of given) {
          if (verb === 'delete') {
            const { id } = await findRule(api, each)
            await api.call('DELETE', `/commands/rules/${id}`)
            done.push(id)
          } else done.push((await change(api, each, { enabled: verb === 'enable' })).id)
        }
        return done
      })
      show(io, options, { rules: ids, done: verb }, () => ids.map(id => `rule ${id} is ${verb}d\n`).join(''))
    })
  withExamples(withJson(command), [`mail-proxy ${instance} rules ${verb} 1`])
}

function addRuleFlags(command: Command): Command {
  return command
    .option('--name <text>', 'name for people')
    .option('--days <days>', 'mon-fri, sat,sun, weekdays, weekend or all')
    .option('--hours <hours>', '9-18: from 9:00 and before 18:00; 22-6 goes over midnight; all')
    .addOption(new Option('--interval <minutes>', 'send at ticks so far apart, counted from the start of the window'))
    .option('--zone <name>', 'time zone of the hours, as Europe/Rome')
    .option('--priority <n>', 'where several are open the highest counts; left out, a new one is the last')
    .option('--tenant <tenant>', 'only for this tenant')
    .option('--account <account>', 'only for this account')
}

/** As the API has them; an empty value is null, which sets the field back. */
function fieldsOf(flags: RuleFlags): Readonly<Record<string, unknown>> {
  const body = {
    name: emptyIsNull(flags.name),
    days: flags.days === undefined ? undefined : parseDays(flags.days || 'all'),
    ...(flags.hours === undefined ? {} : parseHours(flags.hours || 'all')),
    interval_minutes: numberOf('--interval', flags.interval),
    timezone: emptyIsNull(flags.zone),
    priority: numberOf('--priority', flags.priority),
    tenant_id: emptyIsNull(flags.tenant),
    account_id: emptyIsNull(flags.account),
  }
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
}

function emptyIsNull(text: string | undefined): string | null | undefined {
  return text === '' ? null : text
}

function numberOf(flag: string, text: string | undefined): number | null | undefined {
  if (text === undefined || text === '') return text === '' ? null : undefined
  if (!/^-?\d{1,7}$/.test(text)) throw new UsageError(`${flag} is "${text}": it should be a whole number`)
  return Number(text)
}

async function listRules(api: Api): Promise<readonly Rule[]> {
  return (await api.call<{ rules: readonly Rule[] }>('GET', '/commands/rules')).rules
}

/** The API takes an id that is not there for no mistake; a person is told. */
async function findRule(api: Api, given: string): Promise<Rule> {
  const rules = await listRules(api)
  const rule = rules.find(each => String(each.id) === given)
  if (rule === undefined)
    throw new CliError(
      `there is no rule ${given}; there ${rules.length === 0 ? 'are none' : `are ${rules.map(each => each.id).join(', ')}`}`,
    )
  return rule
}

async function change(api: Api, given: string, body: Readonly<Record<string, unknown>>): Promise<Rule> {
  const { id } = await findRule(api, given)
  const { rules } = await api.call<{ rules: readonly Rule[] }>('PATCH', `/commands/rules/${id}`, { body })
  const rule = rules.find(each => each.id === id)
  if (rule === undefined) throw new CliError(`rule ${id} was deleted meanwhile`)
  return rule
}
