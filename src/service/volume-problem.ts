/** Whether a volume's backend and config can work at all, as far as it can be told without opening the store. */
import { BACKENDS } from '../attachments/stores/store.js'

/** The reason as a sentence without secrets; null: nothing is wrong. `trusted`: an admin or config.ini says it. */
export function volumeProblem(
  backend: string,
  _config: Readonly<Record<string, unknown>>,
  trusted: boolean,
): string | null {
  if (backend === 'memory') {
    return 'the backend memory is no longer there: its files were lost with each restart; use local, or s3'
  }
  if (!BACKENDS.some(each => each === backend)) return `the backend should be one of ${BACKENDS.join(', ')}`
  if (backend === 'local' && !trusted) return 'only the administrator may set up a volume of the backend local'
  return null
}
