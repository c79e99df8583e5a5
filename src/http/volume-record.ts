/** A volume on the wire: what may be given, what is shown of it, and how a config that comes back masked is read. */
import type { Static } from 'typebox'
import { keyNamed } from '../attachments/stores/settings.js'
import { isBackend } from '../attachments/stores/store.js'
import type { Volume } from '../volumes/volume.js'
import { MASK, maskQuery, maskSecrets } from './mask.js'
import { AnyId, AnyObject, Given, Line, NewId } from './schemas.js'
import { Type } from './type.js'
import { wrongField } from './validate.js'
import { isoTime, withoutNulls } from './wire-time.js'

export const VolumePayload = Type.Object(
  {
    name: NewId,
    backend: Line(64),
    // Judged by configOf: what is wrong with it is told without repeating it, for it holds secrets.
    config: Type.Unknown({ description: 'Object: where the files lie, and the credentials for it' }),
    account_id: Given(AnyId),
    tenant_id: Given(AnyId),
  },
  { title: 'Volume' },
)

const shown = {
  id: Type.Integer(),
  name: Type.String(),
  backend: Type.String(),
  config: Type.Optional(AnyObject),
  tenant_id: Type.Optional(Type.String()),
  account_id: Type.Optional(Type.String({ description: "As the predecessor had it: the account, or the tenant's id" })),
}
export const VolumeInfo = Type.Object(shown, { title: 'VolumeInfo' })
export const VolumeListed = Type.Object(
  { ...shown, created_at: Type.String(), updated_at: Type.String() },
  { title: 'VolumeListed' },
)

/** `viewer` null: an admin. A tenant is told that a shared volume is there, and not where its files lie. */
export function volumeInfo(volume: Volume, viewer: string | null): Static<typeof VolumeInfo> {
  const { tenantId, accountId } = volume
  return withoutNulls({
    id: volume.key,
    name: volume.name,
    backend: volume.backend,
    config: viewer !== null && tenantId !== viewer ? null : maskConfig(volume.config),
    tenant_id: tenantId,
    account_id: accountId ?? tenantId,
  }) as Static<typeof VolumeInfo>
}

export function volumeListed(volume: Volume, viewer: string | null): Static<typeof VolumeListed> {
  const { createdAt, updatedAt } = volume
  return { ...volumeInfo(volume, viewer), created_at: isoTime(createdAt), updated_at: isoTime(updatedAt) }
}

const MOST_AUDITED_KEYS = 100

/** What the command log says of a config as given: of keys that the backend does not know nothing but the name. */
export function auditedConfig(backend: string, given: unknown): unknown {
  // A text may be a whole config in JSON; and none has so many keys.
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return MASK
  if (Object.keys(given).length > MOST_AUDITED_KEYS) return MASK
  const isKnown = (name: string) => isBackend(backend) && keyNamed(backend, name) !== null
  const shown = Object.entries(given).map(([name, value]) => [name, isKnown(name) ? value : MASK])
  return maskConfig(Object.fromEntries(shown))
}

/** Secret fields, and what URLs carry of user names, passwords and signatures. */
function maskConfig(config: unknown): unknown {
  const masked = maskTexts(maskSecrets(config))
  const headers = at(masked, 'headers')
  if (typeof headers !== 'object' || headers === null) return masked
  return { ...(masked as object), headers: maskHeaders(headers) }
}

/** Which of them carry a secret their names do not tell: X-Shop-Auth, Ocp-Apim-Subscription-Key. */
const HARMLESS = /^(accept|accept-language|from|referer|user-agent|x-requested-with)$/i

function maskHeaders(headers: object): object {
  return Object.fromEntries(Object.entries(headers).map(([name, each]) => [name, HARMLESS.test(name) ? each : MASK]))
}

const MAX_CONFIG = 64 * 1024

/** The config as an object. Throws 422, and repeats nothing of what was given. */
export function configOf(given: unknown): Record<string, unknown> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw wrongField('config', 'Input should be a valid dictionary', 'dict_type')
  }
  const text = JSON.stringify(given)
  if (text.length > MAX_CONFIG) throw wrongField('config', `should have at most ${MAX_CONFIG} characters`)
  if (/\$\{/.test(text)) {
    throw wrongField('config', `\${…} is replaced in config.ini only: send the value itself`)
  }
  return given as Record<string, unknown>
}

/** Puts the stored values where `***` came back. Throws 422 where nothing is stored that it could stand for. */
export function unmaskConfig(
  given: Readonly<Record<string, unknown>>,
  stored: Readonly<Record<string, unknown>> | null,
): { config: Record<string, unknown>; usesStored: boolean } {
  let usesStored = false
  const restore = (value: unknown, seen: unknown, kept: unknown, path: string): unknown => {
    if (typeof value === 'string' && value.includes(MASK)) {
      if (value !== seen) throw wrongField(path, `${MASK} stands for a stored value, and there is none`)
      usesStored ||= value !== kept
      return kept
    }
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map((each, i) => restore(each, at(seen, i), at(kept, i), `${path}.${i}`))
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => [
        name,
        restore(each, at(seen, name), at(kept, name), `${path}.${name}`),
      ]),
    )
  }
  const config = restore(given, maskConfig(stored), stored, 'config') as Record<string, unknown>
  return { config, usesStored }
}

function at(container: unknown, name: string | number): unknown {
  if (typeof container !== 'object' || container === null || !Object.hasOwn(container, name)) return undefined
  return (container as Record<string | number, unknown>)[name]
}

function maskTexts(value: unknown): unknown {
  // Settings that are objects may also come as JSON in a text; which of it is secret is not told apart.
  if (typeof value === 'string') return /^\s*[{[]/.test(value) ? MASK : maskUrl(value)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(maskTexts)
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, maskTexts(each)]))
}

/** `https://user:password@host/path?sig=…`: by the text, so that also what is no good URL is masked. */
function maskUrl(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text
  return maskQuery(text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${MASK}@`))
}
