import type { Log } from '../../src/lib/log.js'
import { createLogger } from '../../src/lib/logger.js'
import { noteOutput } from './output.js'

/** Shows nothing. What it was told is kept as the product would write it, at every level, and searched for secrets. */
export const silentLog: Log = createLogger({ level: 'debug', format: 'json', write: noteOutput })
