/** Accounts: create and change, list, show, delete, pause, resume, test. */

import type { FastifyRequest } from 'fastify'
import type { Account } from '../../accounts/account.js'
import { pauseByOperator, resumeByOperator } from '../../accounts/pause.js'
import { deleteAccount, findAccount, getAccount, listAccounts, saveAccount } from '../../accounts/store.js'
import { AppError } from '../../lib/errors.js'
import { anyOf } from '../../lib/wake.js'
import { failAccountQueue } from '../../queue/account-deleted.js'
import { DEFAULT_TENANT } from '../../tenants/store.js'
import { AccountInfo, AccountPayload, accountInfo, accountPatch, PauseBody } from '../account-record.js'
import type { Routes } from '../app.js'
import { AnyId, Ok, OkWith, TenantBody, TenantQuery } from '../schemas.js'
import { Type } from '../type.js'
import { validationFailed, wrongField } from '../validate.js'

const AccountPath = Type.Object({ account_id: AnyId })
const tags = ['accounts']

export const accountRoutes: Routes = (app, deps) => {
  const { db, sealer, clock, wake } = deps

  const find = async (request: FastifyRequest): Promise<Account> => {
    const { account_id: id } = request.params as { account_id: string }
    const account = await findAccount(db, sealer, request.tenantScope, id)
    if (account === null) throw new AppError('not_found', `Account '${id}' not found`)
    return account
  }

  app.post(
    '/account',
    {
      config: { access: 'tenant', audit: 'addAccount' },
      schema: {
        tags,
        summary: 'Create an account, or change the fields given',
        querystring: TenantQuery,
        body: AccountPayload,
        response: { 200: Ok },
      },
    },
    async request => {
      const { id } = request.body
      const tenantId = request.tenantScope ?? (await findAccount(db, sealer, null, id))?.tenantId ?? DEFAULT_TENANT
      const trusted = request.caller.kind === 'admin'
      const stored = request.body.oauth2 == null ? null : await getAccount(db, sealer, tenantId, id)
      const saved = await saveAccount(db, sealer, { tenantId, id }, accountPatch(request.body, stored), {
        now: clock.now(),
        trusted,
      })
      if (saved.kind === 'refused') throw wrongField(saved.field, saved.problem)
      if (saved.kind === 'no_tenant') throw new AppError('not_found', `Tenant '${tenantId}' not found`)
      if (saved.kind === 'host_missing') {
        throw validationFailed([{ type: 'missing', loc: ['body', 'host'], msg: 'Field required' }])
      }
      await wake.settings()
      return { ok: true as const }
    },
  )

  app.get(
    '/accounts',
    {
      config: { access: 'tenant' },
      schema: {
        tags,
        summary: 'The accounts of a tenant; of all for an admin who names none',
        querystring: TenantQuery,
        response: { 200: OkWith({ accounts: Type.Array(AccountInfo) }) },
      },
    },
    async request => {
      const accounts = await listAccounts(db, sealer, request.tenantScope)
      return { ok: true as const, accounts: accounts.map(accountInfo) }
    },
  )

  app.get(
    '/account/:account_id',
    {
      config: { access: 'tenant' },
      schema: {
        tags,
        summary: 'One account',
        params: AccountPath,
        querystring: TenantQuery,
        response: { 200: OkWith(AccountInfo.properties) },
      },
    },
    async request => ({ ok: true as const, ...accountInfo(await find(request)) }),
  )

  app.delete(
    '/account/:account_id',
    {
      config: { access: 'tenant', audit: 'deleteAccount' },
      schema: {
        tags,
        summary: 'Delete an account; what waits behind it becomes errors (account_deleted)',
        params: AccountPath,
        querystring: TenantQuery,
        body: TenantBody,
        response: { 200: Ok },
      },
    },
    async request => {
      const account = await findAccount(db, sealer, request.tenantScope, request.params.account_id)
      const key = account === null ? null : await deleteAccount(db, account.tenantId, account.id)
      if (key === null) throw new AppError('command_failed', 'account not found or not owned by tenant')
      await wake.settings()
      const { tenantIds } = await failAccountQueue(db, key, clock.now())
      if (tenantIds.length > 0) wake.reports(tenantIds)
      return { ok: true as const }
    },
  )

  const actionSchema = (summary: string) => ({ tags, summary, params: AccountPath, querystring: TenantQuery })

  app.post(
    '/account/:account_id/pause',
    {
      config: { access: 'tenant', audit: 'pauseAccount' },
      schema: {
        ...actionSchema('Stop sending through an account until it is resumed'),
        body: PauseBody,
        response: { 200: Ok },
      },
    },
    async request => {
      const { key } = await find(request)
      await pauseByOperator(db, { key, now: clock.now(), reason: request.body.reason || 'paused by an operator' })
      await wake.settings()
      return { ok: true as const }
    },
  )

  app.post(
    '/account/:account_id/resume',
    {
      config: { access: 'tenant', audit: 'resumeAccount' },
      schema: { ...actionSchema('Send through a paused account again'), body: TenantBody, response: { 200: Ok } },
    },
    async request => {
      const { key } = await find(request)
      await resumeByOperator(db, key)
      await wake.settings()
      wake.queue([anyOf(key)])
      return { ok: true as const }
    },
  )

  app.post(
    '/account/:account_id/test',
    {
      config: { access: 'tenant', audit: 'testAccount' },
      schema: {
        ...actionSchema('Connect and log in without sending; tells the conversation'),
        body: TenantBody,
        response: {
          200: Type.Object({
            ok: Type.Boolean(),
            conversation: Type.Array(Type.String()),
            error: Type.Optional(Type.String()),
          }),
        },
      },
    },
    async request => {
      const { ok, conversation, error } = await deps.probeAccount(await find(request))
      return { ok, conversation: [...conversation], ...(error === undefined ? {} : { error }) }
    },
  )
}
