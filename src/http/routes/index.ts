/** Every route file of the API, in the order of the documentation. */
import type { Routes } from '../app.js'
import { accountRoutes } from './accounts.js'
import { commandLogRoutes } from './command-log.js'
import { commandRoutes } from './commands.js'
import { diagnosticsRoutes } from './diagnostics.js'
import { fileRoutes } from './files.js'
import { instanceRoutes } from './instance.js'
import { messageRoutes } from './messages.js'
import { ruleRoutes } from './rules.js'
import { statsRoutes } from './stats.js'
import { systemRoutes } from './system.js'
import { tenantRoutes } from './tenants.js'
import { volumeRoutes } from './volumes.js'

export const allRoutes: readonly Routes[] = [
  systemRoutes,
  tenantRoutes,
  accountRoutes,
  volumeRoutes,
  messageRoutes,
  commandRoutes,
  ruleRoutes,
  statsRoutes,
  diagnosticsRoutes,
  fileRoutes,
  instanceRoutes,
  commandLogRoutes,
]
