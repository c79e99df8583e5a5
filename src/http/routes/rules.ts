/** Sending windows (spec section 4.6). Each command answers all rules. */
import { type Static, Type } from '@fastify/type-provider-typebox'
import { AppError } from '../../lib/errors.js'
import type { Rule } from '../../rules/rule.js'
import { createRule, deleteRule, enableRule, listRules } from '../../rules/store.js'
import type { Routes } from '../app.js'
import { AnyId, Flag, Given, Int, Line, OkWith } from '../schemas.js'
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
      if (created.kind === 'no_tenant') throw new AppError('not_found', `Tenant '${body.tenant_id}' not found`)
      if (created.kind === 'no_account') throw new AppError('not_found', `Account '${body.account_id}' not found`)
      wake.settings()
      return answer()
    },
  )

  app.patch(
    '/commands/rules/:rule_id',
    {
      config: { access: 'admin', audit: 'setRuleEnabled' },
      schema: {
        tags,
        summary: 'Switch a rule on or off',
        params: RulePath,
        body: Type.Object({ enabled: Flag }),
        response: { 200: RulesAnswer },
      },
    },
    async request => {
      await enableRule(db, request.params.rule_id, request.body.enabled)
      wake.settings()
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
      wake.settings()
      return answer()
    },
  )
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
