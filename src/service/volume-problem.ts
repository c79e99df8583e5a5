/** Whether a volume's backend and config can work at all, as far as it can be told without opening the store. */
import { problemOfConfig } from '../attachments/stores/open-store.js'
import { BACKENDS, type Backend } from '../attachments/stores/store.js'
import { createNetworkGuard } from '../lib/network-guard.js'

/** The reason as a sentence without secrets; null: nothing is wrong. `trusted`: an admin or config.ini says it. */
export function volumeProblem(
  backend: string,
  config: Readonly<Record<string, unknown>>,
  trusted: boolean,
): string | null {
  if (backend === 'memory') {
    return 'the backend memory is no longer there: its files were lost with each restart; use local, or s3'
  }
  if (!BACKENDS.some(each => each === backend)) return `the backend should be one of ${BACKENDS.join(', ')}`
  if (backend === 'local' && !trusted) return 'only the administrator may set up a volume of the backend local'
  const problem = problemOfConfig(backend as Backend, config, { guard: trusted ? null : ANY_GUARD })
  return problem === null ? null : `config: ${problem}`
}

/** Only that there is one counts here; which addresses it lets through is seen when the store is used. */
const ANY_GUARD = createNetworkGuard({ allowPrivate: false, allowed: [] })
