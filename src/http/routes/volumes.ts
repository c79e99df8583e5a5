/** Volumes: create and change, list, show, delete. A tenant has its own; those without tenant are shared and the admin's. */

import type { FastifyRequest } from 'fastify'
import { AppError } from '../../lib/errors.js'
import { problemOfName } from '../../volumes/name.js'
import { findOwner } from '../../volumes/owner.js'
import {
  deleteVolume,
  isSameContent,
  listVolumes,
  placesOfName,
  resolveVolumes,
  saveVolume,
  type VolumeContent,
  type VolumeOwner,
  type VolumePlace,
} from '../../volumes/store.js'
import type { Volume } from '../../volumes/volume.js'
import type { Routes } from '../app.js'
import { audit } from '../audit.js'
import { AnyId, Ok, OkWith } from '../schemas.js'
import { Type } from '../type.js'
import { wrongField } from '../validate.js'
import {
  auditedConfig,
  configOf,
  unmaskConfig,
  VolumeInfo,
  VolumeListed,
  VolumePayload,
  volumeInfo,
  volumeListed,
} from '../volume-record.js'

const VolumePath = Type.Object({ name: AnyId })
const OwnerQuery = Type.Object({ account_id: Type.Optional(AnyId), tenant_id: Type.Optional(AnyId) })
const tags = ['volumes']

export const volumeRoutes: Routes = (app, { db, sealer, clock, knownVolumes, volumeProblem }) => {
  /** Whom tenant_id, account_id and the key mean together; null: no such account. */
  const findNamed = async (request: FastifyRequest, accountId: string | null | undefined) => {
    const { tenantScope: tenantId } = request
    if (accountId == null || accountId === '') return { tenantId, accountId: null }
    const owner = await findOwner(db, tenantId, accountId)
    if (owner.kind === 'found') return { tenantId: owner.tenantId, accountId: owner.accountId }
    if (owner.kind === 'none') return null
    throw new AppError('bad_request', `Several tenants have an account '${accountId}': name the tenant_id too`)
  }

  app.post(
    '/volume',
    {
      config: { access: 'tenant', audit: 'addVolume' },
      schema: {
        tags,
        summary: 'Create a volume, or replace the one of this name and owner',
        body: VolumePayload,
        response: { 200: Ok },
      },
    },
    async request => {
      const { name, backend, account_id: accountId } = request.body
      audit(request, { ...request.body, config: auditedConfig(backend, request.body.config) })
      const badName = problemOfName(name)
      if (badName !== null) throw wrongField('name', badName)
      const given = configOf(request.body.config)
      const owner = await findNamed(request, accountId)
      if (owner === null) throw new AppError('not_found', `Account '${accountId}' not found`)
      const decide = (current: Volume | null): VolumeContent | null => {
        const { config, usesStored } = unmaskConfig(given, current?.config ?? null)
        const next = { backend: backend as Volume['backend'], config }
        // The whole record sent back: it stays trusted, and config.ini's.
        if (current !== null && isSameContent(current, next)) return null
        const trusted = request.caller.kind === 'admin'
        // Else a tenant could send what the admin stored to a place of its own.
        if (usesStored && current?.trusted === true && !trusted) {
          throw wrongField('config', '*** stands for a value that the administrator set: send the value itself')
        }
        const problem = volumeProblem(backend, config, trusted)
        if (problem !== null) throw wrongField(problem.field, problem.sentence)
        return { ...next, trusted, fromConfig: false }
      }
      const saved = await saveVolume(db, sealer, { ...owner, name }, decide, { now: clock.now() })
      if (saved === 'no_owner') throw new AppError('not_found', `Tenant '${owner.tenantId}' not found`)
      knownVolumes.forget()
      return { ok: true as const }
    },
  )

  app.get(
    '/volumes',
    {
      config: { access: 'tenant' },
      schema: {
        tags,
        summary: 'The volumes of a tenant or account, and the shared ones; all for an admin who names nobody',
        querystring: OwnerQuery,
        response: { 200: OkWith({ volumes: Type.Array(VolumeListed) }) },
      },
    },
    async request => {
      const { account_id: accountId } = request.query
      const owner = await findNamed(request, accountId)
      const isAll = owner !== null && owner.tenantId === null && !accountId
      // An account that is not there has nothing of its own.
      const volumes = await listVolumes(db, sealer, isAll ? null : (owner ?? NOBODY))
      return { ok: true as const, volumes: volumes.map(each => volumeListed(each, viewerOf(request))) }
    },
  )

  app.get(
    '/volume/:name',
    {
      config: { access: 'tenant' },
      schema: {
        tags,
        summary: 'The volume that a message of this tenant and account would use: its own, else the shared one',
        params: VolumePath,
        querystring: OwnerQuery,
        response: { 200: VolumeInfo },
      },
    },
    async request => {
      const { name } = request.params
      const owner = (await findNamed(request, request.query.account_id)) ?? NOBODY
      const [volume] = problemOfName(name) === null ? await resolveVolumes(db, sealer, [{ ...owner, name }]) : []
      if (volume == null) throw notFound(name)
      // The predecessor's answer, which has no `ok`.
      return volumeInfo(volume, viewerOf(request))
    },
  )

  const placeToDelete = async (request: FastifyRequest, name: string, accountId?: string): Promise<VolumePlace> => {
    if (problemOfName(name) !== null) throw notFound(name)
    const owner = await findNamed(request, accountId)
    if (owner === null) throw notFound(name)
    if (accountId) return { ...owner, name }
    const places = await placesOfName(db, name)
    const own = places.filter(each => owner.tenantId === null || each.tenantId === owner.tenantId)
    const exact = own.find(each => each.tenantId === owner.tenantId && each.accountId === null)
    const place = exact ?? own[0]
    if (place === undefined) {
      if (request.caller.kind === 'tenant' && places.some(each => each.tenantId === null)) {
        throw new AppError('forbidden', `Volume '${name}' is shared: only the administrator may delete it`)
      }
      throw notFound(name)
    }
    if (exact === undefined && own.length > 1) {
      throw new AppError('bad_request', `Several volumes are called '${name}': name the account_id or tenant_id`)
    }
    return place
  }

  app.delete(
    '/volume/:name',
    {
      config: { access: 'tenant', audit: 'deleteVolume' },
      schema: {
        tags,
        summary: 'Delete a volume of the owner named, or the only one of this name',
        params: VolumePath,
        querystring: OwnerQuery,
        response: { 200: Ok },
      },
    },
    async request => {
      const { name } = request.params
      const place = await placeToDelete(request, name, request.query.account_id)
      if (!(await deleteVolume(db, place))) throw notFound(name)
      knownVolumes.forget()
      return { ok: true as const }
    },
  )
}

const NOBODY: VolumeOwner = { tenantId: null, accountId: null }

function viewerOf({ caller }: FastifyRequest): string | null {
  return caller.kind === 'tenant' ? caller.tenantId : null
}

function notFound(name: string): AppError {
  return new AppError('not_found', `Volume '${name}' not found`)
}
