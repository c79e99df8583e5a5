/** End to end: from the first POST until everything is recorded as sent. */
import { usage } from './child.js'
import { sentSoFar, submit, untilEmpty } from './load.js'
import { requests } from './messages.js'
import type { Rig } from './rig.js'

export interface Throughput {
  readonly perSecond: number
  readonly cpuMicrosPerMessage: number
  /** Highest RSS, MB. */
  readonly rssMb: number
}

export async function measureThroughput(
  { client, service }: Rig,
  count: number,
  fieldsOf: Parameters<typeof requests>[2] = {},
): Promise<Throughput> {
  const made = requests(count, 100, fieldsOf)
  const sentBefore = await sentSoFar(client)
  const before = usage(service.pid)
  let rssMb = before.rssMb
  const from = performance.now()
  await submit(client, made)
  await untilEmpty(client, () => {
    rssMb = Math.max(rssMb, usage(service.pid).rssMb)
  })
  const seconds = (performance.now() - from) / 1000
  const cpuSeconds = usage(service.pid).cpuSeconds - before.cpuSeconds
  const sent = (await sentSoFar(client)) - sentBefore
  if (sent !== count) throw new Error(`${sent} of ${count} messages were sent`)
  return { perSecond: count / seconds, cpuMicrosPerMessage: (cpuSeconds * 1e6) / count, rssMb }
}
