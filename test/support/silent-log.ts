import type { Log } from '../../src/lib/log.js'

export const silentLog: Log = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} }
