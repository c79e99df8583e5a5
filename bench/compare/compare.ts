/** The service beside others that do the same job, or less of it, in one run on one machine. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Bench, Figure } from '../bench.js'
import { startSink } from '../child.js'
import { figure } from '../figures.js'
import { END_TO_END_COUNT, measureEndToEnd } from '../goals/end-to-end.js'
import { programNamed } from '../programs.js'
import { measureStraight } from '../smtp-source.js'
import { rateOfAll } from '../times.js'
import { measurePostfix } from './postfix.js'

const POOL = fileURLToPath(new URL('./nodemailer-pool.js', import.meta.url))

export interface Compared {
  /** Why nobody was there to compare with; null: they were. */
  readonly missing: string | null
  /** Messages of the service and of smtp-source, and of each of the others. */
  readonly counts: { readonly service: number; readonly others: number }
  /** Messages a second of the service, end to end. */
  readonly service: number
  readonly rows: readonly Competitor[]
}

export interface Competitor {
  readonly who: string
  /** Messages a second taken in; null: it takes none in, it only sends. */
  readonly accepted: number | null
  readonly endToEnd: number
}

/**
 * The first database stands for the service. It does what goal 1 says, before the others and after them: one count for both
 * would either take Postfix four minutes or end before V8 has compiled what is hot.
 */
export async function compare(bench: Bench): Promise<{ compared: Compared; figures: Figure[] }> {
  const count = bench.count(20_000)
  const counts = { service: bench.count(END_TO_END_COUNT), others: count }
  const [database] = bench.databases
  if (programNamed('postfix') === null || programNamed('smtp-source') === null) {
    const missing = 'Not compared: Debian’s postfix package (postfix, smtp-source, smtp-sink) is not installed.'
    bench.say(missing)
    return { compared: { missing, counts, service: Number.NaN, rows: [] }, figures: [] }
  }
  const measureService = async () => {
    bench.say('compare: the service')
    return (await measureEndToEnd(bench, database!)).perSecond
  }
  const before = await measureService()
  bench.say('compare: smtp-source straight into smtp-sink')
  const straight = await measureStraight(counts.service)
  bench.say('compare: Postfix')
  const postfix = await measurePostfix(count)
  bench.say('compare: a nodemailer pool')
  const pool = await measurePool(count)
  const service = rateOfAll([before, await measureService()])
  return {
    compared: {
      missing: null,
      counts,
      service,
      rows: [
        { who: `this service (${database!.name})`, accepted: null, endToEnd: service },
        { who: 'Postfix', ...postfix },
        { who: 'a nodemailer pool, no queue', accepted: null, endToEnd: pool },
        { who: 'smtp-source, no queue', accepted: null, endToEnd: straight! },
      ],
    },
    figures: [figure(1, database!, 'end to end / Postfix', service / postfix.endToEnd, 'ratio', { atLeast: 10 })],
  }
}

export async function measurePool(count: number): Promise<number> {
  const sink = await startSink()
  try {
    const child = spawn(process.execPath, [POOL, String(sink.port), String(count)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.on('data', chunk => {
      text += chunk
    })
    const code = await new Promise(done => child.once('close', done))
    if (code !== 0) throw new Error(`the nodemailer pool ended with ${code}`)
    return count / Number(text)
  } finally {
    await sink.stop()
  }
}
