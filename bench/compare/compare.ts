/** The service beside others that do the same job, or less of it, in one run on one machine. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Bench, Figure } from '../bench.js'
import { startSink } from '../child.js'
import { figure } from '../figures.js'
import { programNamed } from '../programs.js'
import { withService } from '../rig.js'
import { measureStraight } from '../smtp-source.js'
import { measureThroughput } from '../throughput.js'
import { measurePostfix } from './postfix.js'

const POOL = fileURLToPath(new URL('./nodemailer-pool.js', import.meta.url))

export interface Compared {
  /** Why nobody was there to compare with; null: they were. */
  readonly missing: string | null
  readonly count: number
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

/** The first database stands for the service. */
export async function compare(bench: Bench): Promise<{ compared: Compared; figures: Figure[] }> {
  const count = bench.count(20_000)
  const [database] = bench.databases
  if (programNamed('postfix') === null || programNamed('smtp-source') === null) {
    const missing = 'Not compared: Debian’s postfix package (postfix, smtp-source, smtp-sink) is not installed.'
    bench.say(missing)
    return { compared: { missing, count, service: Number.NaN, rows: [] }, figures: [] }
  }
  bench.say('compare: smtp-source straight into smtp-sink')
  const straight = await measureStraight(bench.count(100_000))
  bench.say('compare: the service')
  const service = await withService({ database: await database!.fresh() }, async rig => {
    await measureThroughput(rig, bench.count(4_000))
    return measureThroughput(rig, count)
  })
  bench.say('compare: Postfix')
  const postfix = await measurePostfix(count)
  bench.say('compare: a nodemailer pool')
  const pool = await measurePool(count)
  const ratio = service.perSecond / postfix.endToEnd
  return {
    compared: {
      missing: null,
      count,
      service: service.perSecond,
      rows: [
        { who: `this service (${database!.name})`, accepted: null, endToEnd: service.perSecond },
        { who: 'Postfix', ...postfix },
        { who: 'a nodemailer pool, no queue', accepted: null, endToEnd: pool },
        { who: 'smtp-source, no queue', accepted: null, endToEnd: straight! },
      ],
    },
    figures: [figure(1, database!, 'end to end / Postfix', ratio, 'ratio', { atLeast: 10 })],
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
