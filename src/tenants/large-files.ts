/**
 * What a change makes of a tenant's large_file_config: masked secrets are those there are, and whether its store is
 * trusted follows who named it. Pure; run against the very record it replaces.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Refused, refused } from '../lib/refused.js'
import type { ChangeOptions } from './change.js'
import { KEEP } from './keep.js'
import type { LargeFileConfig, Tenant } from './tenant.js'

/** A config in whose storage_config KEEP stands for what is stored in its place. */
export type LargeFilesPatch = Readonly<Record<string, unknown>>

type LargeFiles = Pick<Tenant, 'largeFileConfig' | 'largeFilesTrusted'>

export function changeLargeFiles(
  { largeFileConfig: before, largeFilesTrusted: wasTrusted }: LargeFiles,
  given: LargeFilesPatch | null | undefined,
  { trusted, problemOfLargeFiles }: ChangeOptions,
): LargeFiles | Refused {
  if (given === undefined) return { largeFileConfig: before, largeFilesTrusted: wasTrusted }
  if (given === null) return { largeFileConfig: null, largeFilesTrusted: false }
  const kept: string[] = []
  const config = restored(given, before, 'large_file_config', kept)
  if (config === MISSING) return refused(kept.at(-1)!, '*** stands for a stored value, and there is none')
  const next = config as LargeFileConfig
  // The whole record sent back, or a change beside the store: its trust stays, in neither direction anybody's gift.
  const isSame = isDeepStrictEqual(storeIn(next), storeIn(before))
  if (!trusted && !isSame && kept.length > 0) {
    // Else a stored secret could be sent to a place of the caller's choice.
    return refused(kept[0]!, 'must be given again, not as ***, when the store changes')
  }
  const result = { largeFileConfig: next, largeFilesTrusted: isSame ? wasTrusted : trusted }
  if (isDeepStrictEqual(next, before)) return result
  const problem = problemOfLargeFiles?.(next, result.largeFilesTrusted) ?? null
  return problem === null ? result : refused('large_file_config', problem)
}

const MISSING = Symbol('nothing is stored there')

/** A copy with what is stored in the place of each KEEP, whose paths are gathered. */
function restored(given: unknown, stored: unknown, path: string, kept: string[]): unknown {
  if (given === KEEP) {
    kept.push(path)
    return stored === undefined || stored === null ? MISSING : stored
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return given
  const copy: Record<string, unknown> = {}
  for (const [name, each] of Object.entries(given)) {
    const value = restored(each, own(stored, name), `${path}.${name}`, kept)
    if (value === MISSING) return MISSING
    copy[name] = value
  }
  return copy
}

function own(container: unknown, name: string): unknown {
  if (typeof container !== 'object' || container === null || !Object.hasOwn(container, name)) return undefined
  return (container as Record<string, unknown>)[name]
}

/** What of a config says where files go. */
function storeIn(config: LargeFileConfig | null): unknown[] {
  const { storage_url: url, storage_config: more } = config ?? {}
  return [url ?? '', more ?? {}]
}
