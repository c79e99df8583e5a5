/** Sending windows (spec section 4.6). Each command answers all rules. */
import type { Static } from 'typebox'
import { AppError } from '../../lib/errors.js'
import type { Rule } from '../../rules/rule.js'
import { createRule, deleteRule, listRules, replaceRule } from '../../rules/store.js'
import type { Routes } from '../app.js'
import { AnyId, Flag, Given, Int, Line, OkWith } from '../schemas.js'
import { Type } from '../type.js'
import { wrongField } from '../validate.js'
import { withoutNulls } from '../wire-time.js'

const RuleInfo = Type.Object(
  {
    id: Type.Integer(),
    name: Type.Optional(Type.String()),
    enabled: Type.Boolean(),
    priority: Type.Integer(),
    days: Type.Array(Type.Integer()),
    start_hour: Type.Optional(Type.Integer()),
    end_hour: Type.Optional(Type.Integer()),
    cross_midnight: Type.Boolean(),
    interval_minutes: Type.Integer(),
    timezone: Type.Optional(Type.String()),
    tenant_id: Type.Optional(Type.String()),
    account_id: Type.Optional(Type.String()),
  },
  { title: 'Rule' },
)

const RulePayload = Type.Object(
  {
    name: Given(Line(255)),
    enabled: Given(Flag),
    priority: Given(Int(-1_000_000, 1_000_000)),
    days: Given(
      Type.Array(Int(0, 6), {
        maxItems: 7,
        description: '0 Monday … 6 Sunday; empty: all',
      }),
    ),
    start_hour: Given(Int(0, 23)),
    end_hour: Given(Int(0, 23)),
    cross_midnight: Given(Flag),
    interval_minutes: Given(Int(1, 44_640)),
    timezone: Given(Line(64)),
    tenant_id: Given(AnyId),
    account_id: Given(AnyId),
  },
  { title: 'NewRule' },
)

const RulePath = Type.Object({ rule_id: Int(0) })
const RulesAnswer = OkWith({ rules: Type.Array(RuleInfo) })
const tags = ['rules']

export const ruleRoutes: Routes = (app, { db, clock, wake }) => {
  const answer = async () => ({ ok: true as const, rules: (await listRules(db)).map(ruleInfo) })

  app.get(
    '/commands/rules',
    { config: { access: 'admin' }, schema: { tags, summary: 'All rules by priority', response: { 200: RulesAnswer } } },
    answer,
  )

  app.post(
    '/commands/rules',
    {
      config: { access: 'admin', audit: 'addRule' },
      schema: {
        tags,
        summary: 'Add a rule; without priority it goes last',
        body: RulePayload,
        response: { 200: RulesAnswer },
      },
    },
    async request => {
      const { body } = request
      checkWindow(body)
      const created = await createRule(
        db,
        {
          name: body.name ?? null,
          enabled: body.enabled ?? true,
          priority: body.priority ?? null,
          days: [...new Set(body.days ?? [])].sort(),
          startHour: body.start_hour ?? null,
          endHour: body.end_hour ?? null,
          crossMidnight: body.cross_midnight ?? false,
          intervalMinutes: body.interval_minutes ?? 1,
          timezone: body.timezone || null,
          tenantId: body.tenant_id ?? null,
          accountId: body.account_id ?? null,
        },
        clock.now(),
      )
      refuseMissing(created.kind, body)
      await wake.settings()
      return answer()
    },
  )

  app.patch(
    '/commands/rules/:rule_id',
    {
      config: { access: 'admin', audit: 'updateRule' },
      schema: {
        tags,
        summary: 'Change the fields given; null sets one back',
        params: RulePath,
        body: RulePayload,
        response: { 200: RulesAnswer },
      },
    },
    async request => {
      const { body } = request
      const rule = (await listRules(db)).find(each => each.id === request.params.rule_id)
      // An id that is not there changes nothing and is no error, as old clients know it.
      if (rule !== undefined) {
        const next = changed(rule, body)
        checkWindow({
          start_hour: next.startHour,
          end_hour: next.endHour,
          cross_midnight: next.crossMidnight,
          timezone: next.timezone,
        })
        refuseMissing(await replaceRule(db, next), { tenant_id: next.tenantId, account_id: next.accountId })
        await wake.settings()
      }
      return answer()
    },
  )

  app.delete(
    '/commands/rules/:rule_id',
    {
      config: { access: 'admin', audit: 'deleteRule' },
      schema: { tags, summary: 'Delete a rule', params: RulePath, response: { 200: RulesAnswer } },
    },
    async request => {
      await deleteRule(db, request.params.rule_id)
      await wake.settings()
      return answer()
    },
  )
}

function changed(rule: Rule, given: Static<typeof RulePayload>): Rule {
  const { days } = given
  const or = <T>(value: T | null | undefined, before: T, otherwise: T): T =>
    value === undefined ? before : (value ?? otherwise)
  return {
    ...rule,
    name: or(given.name, rule.name, null),
    enabled: or(given.enabled, rule.enabled, true),
    // Nothing is its default: it keeps its place.
    priority: given.priority ?? rule.priority,
    days: days === undefined ? rule.days : [...new Set(days ?? [])].sort(),
    startHour: or(given.start_hour, rule.startHour, null),
    endHour: or(given.end_hour, rule.endHour, null),
    crossMidnight: or(given.cross_midnight, rule.crossMidnight, false),
    intervalMinutes: or(given.interval_minutes, rule.intervalMinutes, 1),
    timezone: or(given.timezone, rule.timezone, null) || null,
    tenantId: or(given.tenant_id, rule.tenantId, null),
    accountId: or(given.account_id, rule.accountId, null),
  }
}

function refuseMissing(
  found: string,
  { tenant_id, account_id }: Pick<Static<typeof RulePayload>, 'tenant_id' | 'account_id'>,
) {
  if (found === 'no_tenant') throw new AppError('not_found', `Tenant '${tenant_id}' not found`)
  if (found === 'no_account') throw new AppError('not_found', `Account '${account_id}' not found`)
}

/** A window that never opens would hold mail for ever without a word. */
function checkWindow({
  start_hour: start,
  end_hour: end,
  cross_midnight: crosses,
  timezone,
}: Static<typeof RulePayload>): void {
  if (start != null && end != null && crosses !== true && start >= end) {
    throw wrongField('end_hour', 'the window ends before it starts: set cross_midnight, or a later end_hour')
  }
  if (timezone) {
    try {
      new Intl.DateTimeFormat('en', { timeZone: timezone })
    } catch {
      throw wrongField('timezone', 'Input should be an IANA time zone, such as Europe/Rome')
    }
  }
}

function ruleInfo(rule: Rule): Static<typeof RuleInfo> {
  return {
    ...withoutNulls({
      name: rule.name,
      start_hour: rule.startHour,
      end_hour: rule.endHour,
      timezone: rule.timezone,
      tenant_id: rule.tenantId,
      account_id: rule.accountId,
    }),
    id: rule.id,
    enabled: rule.enabled,
    priority: rule.priority,
    days: [...rule.days],
    cross_midnight: rule.crossMidnight,
    interval_minutes: rule.intervalMinutes,
  }
}
