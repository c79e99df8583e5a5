/** Databases with a queue, filled by the service over HTTP while nothing is sent, and left by it. */

import { usage } from './child.js'
import type { Database } from './databases.js'
import { submit } from './load.js'
import { requests } from './messages.js'
import { withService } from './rig.js'

export interface LongQueue {
  /** Path or URL. */
  readonly database: string
  readonly count: number
  /** Highest RSS of the service while the queue was filled, MB. */
  readonly rssMb: number
}

/** Requests are made as they are needed: a million messages before the first would be 2 GB. */
const AT_ONCE = 20_000

export async function fillQueue(database: Database, count: number): Promise<LongQueue> {
  const path = await database.fresh()
  // Not suspended: claims ask for that too, and the queue is there to be claimed.
  const env = { GMP_TEST_MODE: 'true' }
  return withService({ database: path, env }, async ({ client, service }) => {
    let rssMb = 0
    for (let done = 0; done < count; done += AT_ONCE) {
      await submit(client, requests(Math.min(AT_ONCE, count - done), 100))
      rssMb = Math.max(rssMb, usage(service.pid).rssMb)
    }
    return { database: path, count, rssMb }
  })
}
