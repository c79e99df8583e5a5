/** Whether a volume's backend and config can work at all, as far as it can be told without opening the store. */
import { problemOfConfig } from '../attachments/stores/open-store.js'
import { BACKENDS, type Backend, isBackend } from '../attachments/stores/store.js'
import { createNetworkGuard } from '../lib/network-guard.js'
import type { VolumeProblem } from '../volumes/volume.js'

/** null: nothing is wrong. `trusted`: an admin or config.ini says it. */
export function volumeProblem(
  backend: string,
  config: Readonly<Record<string, unknown>>,
  trusted: boolean,
): VolumeProblem | null {
  const wrongBackend = problemOfBackend(backend, trusted)
  if (wrongBackend !== null) return { field: 'backend', sentence: wrongBackend }
  const sentence = problemOfConfig(backend as Backend, config, { guard: trusted ? null : ANY_GUARD })
  return sentence === null ? null : { field: 'config', sentence }
}

function problemOfBackend(backend: string, trusted: boolean): string | null {
  if (backend === 'memory') {
    return 'the backend memory is no longer there: its files were lost with each restart; use local, or s3'
  }
  if (!isBackend(backend)) return `the backend should be one of ${BACKENDS.join(', ')}`
  return backend === 'local' && !trusted ? 'only the administrator may set up a volume of the backend local' : null
}

/** Only that there is one counts here; which addresses it lets through is seen when the store is used. */
const ANY_GUARD = createNetworkGuard({ allowPrivate: false, allowed: [] })
