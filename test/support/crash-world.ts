/**
 * The crash matrix: processes of the service that die at named points of a message's journey or at any moment, and are
 * started again, under load of every kind, while the ledgers are kept on all sides. What was under way in each death is
 * known (crash-points.mjs), so that a double, a doubt or a repeated report without a death that explains it is found too.
 */
import { readFile } from 'node:fs/promises'
import { expect } from 'vitest'
import { copyProgram } from './crash-program.js'
import { startHttpSink } from './http-sink.js'
import { readDatabase } from './ledger.js'
import type { ServiceProcess } from './process.js'
import { type SinkBehaviour, type SmtpSink, startSink } from './smtp-sink.js'
import { openWorld, pause, until, type World } from './world.js'

/** In the order of the journey, and how often at most each is passed before the kill. */
const PASSES = {
  accept: 8,
  claim: 5,
  fetch: 3,
  // Those that are open stay open: on a slow machine a second one may not be needed for a minute.
  connect: 1,
  mail: 12,
  rcpt: 12,
  data: 12,
  body: 3,
  journal: 12,
  dot: 12,
  reply: 12,
  settle: 6,
  report: 2,
  acknowledge: 2,
}

export type Point = `${keyof typeof PASSES}:${'before' | 'after'}`

export const POINTS = Object.keys(PASSES).flatMap(name => [`${name}:before`, `${name}:after`]) as Point[]

/** Whoever dies here leaves a message in doubt: its entry is in the journal, its result in no table. */
const CERTAIN_DOUBT: readonly Point[] = ['journal:after', 'dot:before', 'dot:after', 'reply:before', 'reply:after']

const POLICIES = ['retry', 'hold'] as const
/** Over what goes out in one write. */
const LARGE = 'A line that makes the message large.\n'.repeat(4_000)
/** Keeps the load such that a drain takes a moment. */
const MOST_WAITING = 120
const CLIENTS = 3
/** What a tenant's lease has left at least when a post begins: the time of the call, and half of what is added for its end. */
const POST_MS = 6_000
const LONGEST_MS = 60_000

export interface CrashWorld {
  readonly world: World
  /** Starts an instance for each point. */
  startFor(points: readonly Point[]): Promise<void>
  /** Loads those that were started for a point until each of them has died at it. */
  die(): Promise<void>
  /** Starts one that dies at this point as it rescues what the dead left (SQLite, where a start does this). */
  dieInRescue(point: 'settle:before' | 'settle:after'): Promise<void>
  /** Loads the instances until `work` is over. */
  underLoad(work: () => Promise<void>): Promise<void>
  /** Until more was sent than was, and a random moment longer. */
  someLoad(): Promise<void>
  /** One that dies when it is told to. */
  start(): Promise<Instance>
  /** SIGKILL to one that runs, at whatever it is doing. */
  kill(instance: Instance): Promise<void>
  /** SIGSTOP until its lease is taken from it, then SIGCONT until it noticed. */
  freeze(instance: Instance): Promise<void>
  /** From now on all that is claimed may be in doubt, not only what was at its dot: the journal of PostgreSQL is not trusted. */
  databaseDied(): void
  readonly instances: readonly Instance[]
  /** Sends and reports all there is, as the operator too, and balances the ledgers. */
  settle(): Promise<void>
  /** How often a message was left in doubt, as of the last balance. */
  readonly doubts: number
  /** In one line. */
  state(): string
  close(): Promise<void>
}

export interface Instance {
  readonly process: ServiceProcess
  readonly trace: string
  readonly point: Point | null
}

export interface CrashOptions {
  readonly random: () => number
  readonly databaseUrl?: string
}

export async function openCrashWorld(
  dialect: 'sqlite' | 'postgres',
  { random, databaseUrl }: CrashOptions,
): Promise<CrashWorld> {
  const behave: SinkBehaviour = {
    // Once each: what is deferred and sent again is on its way as well when somebody dies.
    rcpt: ({ n, address }) => (n === 1 && address.startsWith('grey') ? '451 4.7.1 Greylisted, try again' : null),
    // Some replies linger, so that random deaths fall between the final dot and the reply.
    final: ({ n }) => (n % 9 === 0 ? { delayMs: 15 } : null),
  }
  const program = await copyProgram()
  const world = await openWorld(dialect, {
    databaseUrl,
    main: program.main,
    // Not lost by a machine that has much to do: that would be a doubt, or a report twice, without a death.
    env: { GMP_ALLOW_PRIVATE_NETWORKS: '1', GMP_LEASE_SECONDS: '4', GMP_SYNC_TIMEOUT: '4' },
    sink: { behave },
  })
  const { ledger } = world
  // Without PIPELINING each command is a point of its own.
  const stepwise = await startSink({ record: 'messages', pipelining: false, behave })
  ledger.sinks.push(stepwise)
  const files = await startHttpSink(() => ({ body: 'the file' }))
  const sinks: Record<string, SmtpSink> = { pipelined: world.sink, stepwise }
  const accounts = Object.keys(sinks).flatMap(sink =>
    POLICIES.map(policy => ({ id: `${sink}-${policy}`, sink, policy })),
  )

  let instances: Instance[] = []
  let starts = 0
  let batches = 0
  let load = { isOn: false }
  let isJournalTrusted = true
  const closing = new AbortController()
  const discarded = new Set<string>()
  /** Submissions that have not heard an answer yet. */
  const asking = new Set<Promise<void>>()
  /** seq → in how many deaths it was between its journal entry and its settle. */
  const deaths = new Map<number, number>()
  /** Of those that died or froze since the last balance, where; null: anywhere. */
  let ends: (Point | null)[] = []
  /** Of all processes that were ever started. */
  const traces: string[] = []
  let balanced = { doubts: 0, repeatedReports: 0, doubled: 0, postsCut: 0 }
  /** Doubts that each process said it counted. */
  const known = new Map<Instance, number>()

  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!

  /** Of one that dies as it starts, `process` never comes. */
  const begin = (point: Point | null, isArmed: boolean) => {
    const trace = `${world.dir}/trace-${starts++}`
    traces.push(trace)
    const name = point?.split(':')[0] as keyof typeof PASSES | undefined
    const nth = name === undefined || isArmed ? 1 : 1 + Math.floor(random() * PASSES[name])
    const process = world.start({
      CRASH_TRACE: trace,
      CRASH_AT: point ?? '',
      CRASH_NTH: String(nth),
      CRASH_ARMED: isArmed ? '1' : '',
    })
    return { trace, point, process }
  }

  const start = async (point: Point | null): Promise<Instance> => {
    const begun = begin(point, false)
    const instance = { ...begun, process: await begun.process }
    instances.push(instance)
    return instance
  }

  const submitSome = async () => {
    const account = pick(accounts)
    const batch = `${account.id}-${batches++}-`
    const ids = Array.from({ length: 1 + Math.floor(random() * 8) }, (_, i) => `${batch}${i}`)
    const kind = pick([
      {},
      {},
      {},
      { attachments: [{ filename: 'file.txt', storage_path: `${files.url}/${batch}` }] },
      { body: LARGE },
      { to: `grey-${batch}@example.net` },
      { to: 'one@example.net, two@example.net' },
      { priority: 'immediate' },
    ])
    // The ones that are frozen or dead cannot answer; when all are, whoever starts next can.
    const to = () => (instances.length > 0 ? pick(instances).process : world.process)
    await world.submit(ids, { fields: { account_id: account.id, ...kind }, to, stop: closing.signal })
  }

  const client = async (given: { readonly isOn: boolean }) => {
    while (given.isOn) {
      if (ledger.waiting().length < MOST_WAITING) await submitSome()
      await pause(random() * 20)
    }
  }

  const beginLoad = () => {
    load.isOn = false
    load = { isOn: true }
    for (let n = 0; n < CLIENTS; n += 1) {
      const asked = client(load)
      asking.add(asked)
      // A failure is told by the next settle.
      asked.then(
        () => asking.delete(asked),
        () => {},
      )
    }
  }

  /** Notes what was under way, once nothing of it can go on. */
  const examine = async ({ trace, point }: Pick<Instance, 'trace' | 'point'>) => {
    const atDot = new Set<number>()
    for (const [fact, ...values] of await factsIn(trace)) {
      if (fact === 'journal') atDot.add(Number(values[0]))
      else if (fact === 'settled') for (const seq of values) atDot.delete(Number(seq))
    }
    for (const seq of atDot) deaths.set(seq, (deaths.get(seq) ?? 0) + 1)
    ends.push(point)
  }

  const factsIn = async (trace: string) =>
    (await readFile(trace, 'utf8').catch(() => '')).split('\n').map(line => line.split(' '))

  /**
   * Posts that were not acknowledged within the tenant's lease, and so may have come twice: cut by a death, or by their time
   * limit where the machine had more to do.
   */
  const postsCut = async () => {
    let cut = 0
    for (const trace of traces) {
      let since: number | null = null
      for (const [fact, at] of await factsIn(trace)) {
        if (fact !== 'posted' && fact !== 'acknowledged') continue
        if (since !== null && (fact === 'posted' || Number(at) - since > POST_MS)) cut += 1
        since = fact === 'posted' ? Number(at) : null
      }
      if (since !== null) cut += 1
    }
    return cut
  }

  const remove = (instance: Instance) => {
    instances = instances.filter(each => each !== instance)
  }

  const diedAtItsPoint = async (victim: Pick<Instance, 'trace' | 'point'>, output: string) => {
    const lastWords = (await readFile(victim.trace, 'utf8')).trimEnd().split('\n').at(-1)
    expect(lastWords, output).toBe(`died ${victim.point}`)
    await examine(victim)
  }

  const death = async (instance: Instance) => {
    const { process, point } = instance
    let timer: NodeJS.Timeout | undefined
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it did not come to ${point}:\n${process.output()}`)), LONGEST_MS)
    })
    await Promise.race([process.exited, late]).finally(() => clearTimeout(timer))
    remove(instance)
    await diedAtItsPoint(instance, process.output())
  }

  /** What the service holds is decided by who can look into the server: there already, or not. */
  const operate = async () => {
    const held = await readDatabase(world.databaseUrl, "select id from messages where status = 'in_doubt'")
    const delivered = ledger.deliveries()
    for (const id of held.map(row => row.id as string)) {
      const verb = delivered.has(id) ? 'discard' : 'release'
      if (verb === 'discard') discarded.add(id)
      expect((await world.call('POST', `/messages/${id}/${verb}`, undefined, instances[0]!.process)).status).toBe(200)
    }
  }

  const settle = async () => {
    load.isOn = false
    await Promise.all(asking)
    const isDrained = async () => {
      const waiting = ledger.waiting()
      // Only those are left that nobody else can end.
      if (waiting.length > 0 && waiting.every(id => id.includes('-hold-'))) await operate()
      return waiting.length === 0
    }
    await until('every final report', isDrained, LONGEST_MS).catch(error => {
      const outputs = instances.map(({ process }) => process.output().slice(-3000))
      throw new Error(`${ledger.waiting().slice(0, 5)} and others wait\n${outputs.join('\n\n')}`, { cause: error })
    })
    await until('the last acknowledgement', async () => {
      const [row] = await readDatabase(world.databaseUrl, 'select count(*) as n from events where pending > 0')
      return Number(row!.n) === 0
    })
    await check()
  }

  const check = async () => {
    const balance = await ledger.balance(world.databaseUrl)
    expect(balance.problems).toEqual({})
    expect(balance.claimed).toBe(0)
    expect(balance.doubled.filter(id => id.includes('-hold-'))).toEqual([])
    const { sent = 0, error = 0 } = balance.statuses
    expect([sent, error]).toEqual([ledger.queued.size - discarded.size, discarded.size])

    // Each doubt has its death, and each double its doubt.
    const doubtRows = await readDatabase(
      world.databaseUrl,
      "select seq, count(*) as n from events where type = 'in_doubt' group by seq",
    )
    const doubts = doubtRows.reduce((sum, { n }) => sum + Number(n), 0)
    if (isJournalTrusted) {
      expect(doubtRows.filter(({ seq, n }) => Number(n) > (deaths.get(Number(seq)) ?? 0))).toEqual([])
    }
    if (ends.some(point => CERTAIN_DOUBT.includes(point!))) expect(doubts).toBeGreaterThan(balanced.doubts)
    const repeatedReports = balance.repeatedReports.length
    const cut = await postsCut()
    if (repeatedReports > balanced.repeatedReports) expect(cut).toBeGreaterThan(balanced.postsCut)

    // Each is counted by the one that found it: whoever rescued and died after it has taken its count along.
    const counts = await Promise.all(instances.map(doubtsCounted))
    const counted = counts.reduce((sum, n) => sum + n, 0)
    if (ends.length <= 1 && isJournalTrusted) expect(counted).toBe(doubts - balanced.doubts)
    expect(counted).toBeLessThanOrEqual(doubts - balanced.doubts)
    ends = []
    balanced = { doubts, repeatedReports, doubled: balance.doubled.length, postsCut: cut }
  }

  /** By this process since it was last asked. */
  const doubtsCounted = async (instance: Instance) => {
    const text = await (await fetch(`${instance.process.url}/metrics`)).text()
    const lines = text.split('\n').filter(line => line.startsWith('gmp_in_doubt_total{'))
    const counted = lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
    const before = known.get(instance) ?? 0
    known.set(instance, counted)
    return counted - before
  }

  const stop = async (instance: Instance) => {
    instance.process.kill('SIGTERM')
    await instance.process.exited
    remove(instance)
  }

  const leaseOf = async ({ process }: Instance) => {
    const rows = await readDatabase(world.databaseUrl, 'select holder from leases')
    return rows.find(({ holder }) => String(holder).endsWith(` ${process.pid}`))
  }

  const begun = await start(null)
  for (const { id, sink, policy } of accounts) {
    const { port } = sinks[sink]!
    await world.account({ id, port, in_doubt: policy, max_connections: 3 })
  }
  await stop(begun)

  return {
    world,
    start: () => start(null),
    get instances() {
      return instances
    },
    async startFor(points) {
      await Promise.all(points.map(start))
    },
    async die() {
      const victims = instances
      for (const { process } of victims) process.kill('SIGUSR2')
      beginLoad()
      await Promise.all(victims.map(death))
      load.isOn = false
    },
    async dieInRescue(point) {
      const { process, ...victim } = begin(point, true)
      const output = await process.then(
        each => each.output(),
        (error: Error) => error.message,
      )
      await diedAtItsPoint(victim, output)
    },
    async underLoad(work) {
      beginLoad()
      await work()
      load.isOn = false
    },
    async kill(instance) {
      instance.process.kill('SIGKILL')
      await instance.process.exited
      remove(instance)
      await examine(instance)
    },
    async freeze(instance) {
      const { process } = instance
      // Nobody is to wait for its answers.
      remove(instance)
      process.kill('SIGSTOP')
      await until('it to stand still', async () => / T /.test(await readFile(`/proc/${process.pid}/stat`, 'utf8')))
      await examine(instance)
      await until('its lease to be taken', async () => (await leaseOf(instance)) === undefined)
      process.kill('SIGCONT')
      await until('it to take a new one', () => leaseOf(instance))
      instances.push(instance)
    },
    databaseDied() {
      isJournalTrusted = false
    },
    someLoad: async () => {
      const sent = () => ledger.sinks.reduce((sum, { accepted }) => sum + accepted, 0)
      const before = sent()
      await until('load', () => sent() > before)
      await pause(random() * 300)
    },
    settle,
    get doubts() {
      return balanced.doubts
    },
    state: () =>
      `${ledger.queued.size} queued, ${balanced.doubts} in doubt, ${balanced.doubled} doubled, ` +
      `${balanced.repeatedReports} reports repeated`,
    async close() {
      load.isOn = false
      closing.abort()
      await Promise.allSettled(asking)
      await world.close()
      await stepwise.close()
      await files.close()
      await program.remove()
    },
  }
}
