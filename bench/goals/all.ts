/** The rounds, in the order in which they run: the long queue serves memory and claims before a purge takes it away. */
import type { Goal } from '../bench.js'
import { accept } from './accept.js'
import { attachments } from './attachments.js'
import { claims } from './claims.js'
import { endToEnd } from './end-to-end.js'
import { eventLoop } from './event-loop.js'
import { idle } from './idle.js'
import { latency } from './latency.js'
import { manyAccounts } from './many-accounts.js'
import { memory } from './memory.js'
import { neighbour } from './neighbour.js'
import { reporter } from './reporter.js'

export const GOALS: readonly Goal[] = [
  { name: 'end-to-end', run: endToEnd },
  { name: 'accept', run: accept },
  { name: 'many-accounts', run: manyAccounts },
  { name: 'latency', run: latency },
  { name: 'memory', run: memory },
  { name: 'claims', run: claims },
  { name: 'reporter', run: reporter },
  { name: 'event-loop', run: eventLoop },
  { name: 'neighbour', run: neighbour },
  { name: 'attachments', run: attachments },
  { name: 'idle', run: idle },
]
