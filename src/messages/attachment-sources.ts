/**
 * Judges at submission where attachments are to come from, as far as it can be seen without fetching: is there such a
 * volume for this tenant and account, is there an endpoint, a base directory. What cannot work is told to the client
 * at once and not at delivery.
 */

import { posix } from 'node:path'
import { urlOf } from '../lib/url.js'
import type { KnownVolumes } from '../volumes/known.js'
import type { WantedVolume } from '../volumes/store.js'
import type { AttachmentRef } from './message.js'

/** What this instance can fetch from, and what it cannot without a setting. */
export interface AttachmentSources {
  /** GMP_ATTACHMENT_BASE_DIR. */
  readonly baseDir: string | null
  /** GMP_ATTACHMENT_BASE_URL. */
  readonly baseUrl: string | null
}

export interface SourceRefusal {
  readonly code: 'attachment_source_unavailable' | 'invalid_field' | 'volume_not_found'
  readonly reason: string
  readonly field: string
}

/** What one message asks of volumes, once its tenant and account are known. */
export interface VolumeQuestion {
  readonly tenantId: string
  readonly accountId: string
  readonly attachments: readonly AttachmentRef[]
  /** Beginnings of `name:path` that are a volume's name or belong to the endpoint. */
  readonly maybe: readonly string[]
}

/** For each message in order, the names among those it mentions that are volumes it may use. */
export async function findVolumes(
  known: Pick<KnownVolumes, 'exist'>,
  questions: readonly (VolumeQuestion | null)[],
): Promise<ReadonlySet<string>[]> {
  const found: Set<string>[] = questions.map(() => NONE)
  const wanted: (WantedVolume & { readonly at: number })[] = []
  for (const [at, question] of questions.entries()) {
    if (question === null) continue
    const { tenantId, accountId, attachments, maybe } = question
    for (const name of new Set([...maybe, ...volumesNamed(attachments)])) wanted.push({ tenantId, accountId, name, at })
  }
  if (wanted.length === 0) return found
  const exist = await known.exist(wanted)
  for (const [i, { at, name }] of wanted.entries()) {
    if (exist[i] !== true) continue
    if (found[at] === NONE) found[at] = new Set()
    found[at]!.add(name)
  }
  return found
}

/** Shared by all messages that name none; never added to. */
const NONE = new Set<string>()

function volumesNamed(attachments: readonly AttachmentRef[]): string[] {
  return attachments.flatMap(({ fetchMode, storagePath }) =>
    fetchMode === 'volume' ? (volumeOf(storagePath) ?? []) : [],
  )
}

/** Why one of these cannot be fetched; null: nothing speaks against it. */
export function judgeSources(
  attachments: readonly AttachmentRef[],
  sources: AttachmentSources & { readonly hasEndpoint: boolean },
  volumes: ReadonlySet<string>,
): SourceRefusal | null {
  const foreign: number[] = []
  for (const [index, { fetchMode, storagePath }] of attachments.entries()) {
    const field = `attachments[${index}].storage_path`
    const invalid = (problem: string): SourceRefusal => ({
      code: 'invalid_field',
      field,
      reason: `invalid ${field}: ${problem}`,
    })
    const unavailable = (reason: string): SourceRefusal => ({ code: 'attachment_source_unavailable', field, reason })
    switch (fetchMode) {
      case 'base64':
        break
      case 'http_url':
        if (!isHttpUrl(storagePath)) return invalid('must be a URL that begins with http:// or https://')
        break
      case 'endpoint':
        if (sources.hasEndpoint || sources.baseUrl !== null) break
        return unavailable(
          `${field} names no volume, so the client would be asked for it, and the tenant has no client_base_url`,
        )
      case 'filesystem':
        if (sources.baseDir === null) {
          return unavailable(`${field} is a file of the server, and GMP_ATTACHMENT_BASE_DIR is not set`)
        }
        if (leaves(sources.baseDir, storagePath)) return invalid('must not lead out of its directory')
        break
      case 'volume': {
        const volume = volumeOf(storagePath)
        if (volume === null) return invalid('must be volume:path')
        if (!volumes.has(volume)) foreign.push(index)
        break
      }
      default:
        return fetchMode satisfies never
    }
  }
  return foreign.length === 0 ? null : refuseVolumes(foreign, attachments)
}

/** The volume of `name:path`; null: it is not that. */
function volumeOf(location: string): string | null {
  return /^([A-Za-z0-9_.-]{1,64}):./.exec(location)?.[1] ?? null
}

const SHOWN = 20

/** The predecessor's words. */
function refuseVolumes(indexes: readonly number[], attachments: readonly AttachmentRef[]): SourceRefusal {
  const shown = indexes.slice(0, SHOWN).map(index => attachments[index]!.storagePath.slice(0, 200))
  const listed = [...shown, ...(indexes.length > SHOWN ? ['…'] : [])].join(', ')
  return {
    code: 'volume_not_found',
    field: `attachments[${indexes[0]}].storage_path`,
    reason: `Invalid/unauthorized storage volumes: ${listed}`,
  }
}

function isHttpUrl(text: string): boolean {
  return /^https?:\/\//i.test(text) && urlOf(text) !== null
}

/**
 * By the text alone; symlinks, and where an absolute path that never was inside may lie, are seen at delivery. An
 * absolute one outside is not refused for that: the directory itself may be a symlink.
 */
function leaves(baseDir: string, path: string): boolean {
  if (!path.split(/[/\\]/).includes('..')) return false
  const normal = posix.normalize(path)
  if (!posix.isAbsolute(path)) return normal === '..' || normal.startsWith('../')
  const base = posix.normalize(`${baseDir}/`)
  return path.startsWith(base) && !normal.startsWith(base)
}
