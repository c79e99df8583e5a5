/**
 * `npm run test:soak -- --minutes 20`: mixed load on the service as processes, with faults of the SMTP server and of the
 * tenant's endpoint all the while, and kills, stops and freezes in the first half. At the end the ledgers have to balance; in
 * the second half, in which nobody is killed, memory and handles have to stay flat.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startPostgres } from '../support/embedded-postgres.js'
import type { SinkAnswer } from '../support/http-sink.js'
import type { ServiceProcess } from '../support/process.js'
import { findSecrets } from '../support/secrets.js'
import type { SinkAction } from '../support/smtp-sink.js'
import { idsOf, openWorld, pause, seeded, type World } from '../support/world.js'

const USAGE = 'Usage: npm run test:soak -- [--minutes 20] [--database sqlite|postgres]\n'
const MAIN = fileURLToPath(new URL('../../../dist/main.js', import.meta.url))
const MINUTE_MS = 60_000
/** A batch of each client, and how long it waits before the next. */
const BATCH = 20
const CLIENTS = 3
const BETWEEN_MS = 400
/** Somewhat less than it may send: what a death has held up meets the limit, and no backlog grows for ever. */
const LIMITED_SHARE = 0.125
const LIMITED_PER_MINUTE = 1_200
const LOOK_MS = 1_000
const TELL_MS = 10_000
/** What is left when the load ends: greylisted, deferred by a limit, behind a pause. */
const DRAIN_MS = 5 * MINUTE_MS
/** How long after the last start a heap still gets warm: grows, though nothing leaks. */
const WARM_MS = 4 * MINUTE_MS
/** The later half of what was measured warm against the earlier one, minutes each; a heap breathes. */
const FLAT = 1.15
/** Handles of an idle process after all of it beyond those of one that has just begun: connections that are kept open. */
const HANDLES = 60

const ATTACHMENT = {
  filename: 'a.bin',
  fetch_mode: 'base64',
  storage_path: Buffer.alloc(300_000, 7).toString('base64'),
}

interface Sample {
  readonly rssMb: number
  readonly handles: number
}

type Random = () => number

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  const options = read(args)
  if (options === null) {
    process.stderr.write(USAGE)
    return 2
  }
  const { dialect, minutes } = options
  // Where output.ts keeps what the processes write, to be searched for secrets.
  process.env.GMP_TEST_OUTPUT = mkdtempSync(join(tmpdir(), 'gmp-output-'))
  const server = dialect === 'postgres' ? await startPostgres({ fsync: true }) : null
  const world = await openWorld(dialect, {
    main: MAIN,
    databaseUrl: server === null ? undefined : server.url,
    env: { LOG_LEVEL: 'info', GMP_PROBE_MAX: '2', GMP_RETRY_DELAYS: '1', GMP_MAX_RETRIES: '1000' },
  })
  try {
    return await soak(world, dialect, minutes * MINUTE_MS)
  } finally {
    await world.close()
    await server?.stop()
    rmSync(process.env.GMP_TEST_OUTPUT, { recursive: true, force: true })
  }
}

function read(args: readonly string[]): { readonly dialect: 'sqlite' | 'postgres'; readonly minutes: number } | null {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { minutes: { type: 'string', default: '20' }, database: { type: 'string', default: 'sqlite' } },
    })
    const minutes = Number(values.minutes)
    const { database } = values
    if (!(minutes > 0) || (database !== 'sqlite' && database !== 'postgres')) return null
    return { dialect: database, minutes }
  } catch {
    return null
  }
}

async function soak(world: World, dialect: 'sqlite' | 'postgres', durationMs: number): Promise<number> {
  const random = seeded(`soak on ${dialect}`)
  const { sink, ledger } = world
  // One on SQLite, two on PostgreSQL; the first is the one that is measured.
  const instances = [await world.start()]
  if (dialect === 'postgres') instances.push(await world.start())
  await world.account()
  await world.account({ id: 'limited', limit_per_minute: LIMITED_PER_MINUTE })
  await world.account({ id: 'narrow', max_connections: 1 })
  const idle = sampleOf(instances[0]!)

  sink.behave({
    greeting: () => sometimes(random, 0.02, '421 4.3.2 come back later'),
    mail: () => sometimes(random, 0.005, { cut: true }),
    rcpt: ({ address, n }) => rcptAction(random, address, n),
    data: () => sometimes(random, 0.005, { delayMs: 300 }),
    final: () => sometimes(random, 0.01, random() < 0.5 ? { cut: true, keep: random() < 0.5 } : { delayMs: 500 }),
  })
  ledger.answerReports(() => reportAnswer(random))

  const began = performance.now()
  /** Of a client or of the fire: it ends the soak, and with it the processes. */
  const trouble: unknown[] = []
  const noteTrouble = (error: unknown) => void trouble.push(error)
  const over = () => trouble.length > 0 || performance.now() - began > durationMs
  const isCalm = () => trouble.length > 0 || performance.now() - began > durationMs / 2
  const clients = idsOf('client', CLIENTS).map(name =>
    submitUntil(world, random, name, over, () => pick(random, instances)).catch(noteTrouble),
  )
  let isQuiet = false
  let kills = 0
  const fire = setFire(world, instances, random, isCalm, () => {
    kills += 1
  })
    .catch(noteTrouble)
    .finally(() => {
      isQuiet = true
    })
  const samples: Sample[] = []
  let toldAt = 0
  while (!over()) {
    await pause(LOOK_MS)
    if (isQuiet && performance.now() - began > durationMs / 2 + WARM_MS) samples.push(sampleOf(instances[0]!))
    if (performance.now() - toldAt < TELL_MS) continue
    toldAt = performance.now()
    tell(world, began, instances[0]!)
  }
  await Promise.all(clients)
  await fire
  if (trouble.length > 0) throw trouble[0]
  await world.drained(DRAIN_MS)

  const { problems, doubts, doubled, repeatedReports } = await ledger.balance(world.databaseUrl)
  const after = sampleOf(instances[0]!)
  const half = Math.floor(samples.length / 2)
  const growth = mean(samples.slice(half)) / mean(samples.slice(0, half))
  const isLong = durationMs >= 4 * WARM_MS
  const leaks = findSecrets(process.env.GMP_TEST_OUTPUT!)
  const faults = [
    ...(leaks.length > 0 ? [`a secret in the output: ${leaks[0]!.text}`] : []),
    ...(Object.keys(problems).length > 0 ? [`the ledgers do not balance: ${JSON.stringify(problems)}`] : []),
    ...(isLong && growth > FLAT ? [`memory grew to ${growth.toFixed(2)} of itself`] : []),
    ...(after.handles > idle.handles + HANDLES ? [`${after.handles} handles in place of ${idle.handles}`] : []),
  ]
  process.stdout.write(
    [
      `${ledger.queued.size} accepted, ${kills} kills, stops and freezes`,
      `${doubts.length} in doubt, ${doubled.length} of them doubled, ${repeatedReports.length} reports repeated`,
      `memory ${isLong ? `at the end to that before: ${growth.toFixed(2)}` : 'was watched too short to be judged'}; handles ${idle.handles} at first, ${after.handles} at the end`,
      ...faults,
      `${4 - faults.length} passed, ${faults.length} failed`,
      '',
    ].join('\n'),
  )
  return faults.length === 0 ? 0 : 1
}

/** Mixed: sizes, priorities, accounts, recipients that refuse, some later. */
async function submitUntil(
  world: World,
  random: Random,
  name: string,
  over: () => boolean,
  to: () => ServiceProcess,
): Promise<void> {
  for (let batch = 0; !over(); batch += 1) {
    const fields = {
      account_id: random() < LIMITED_SHARE ? 'limited' : pick(random, ['main', 'main', 'narrow']),
      priority: pick(random, [0, 1, 2, 2, 3]),
      to: pick(random, [
        'one@example.net',
        'grey@example.net',
        'unknown@example.net',
        ['pair-one@example.net', 'pair-two@example.net'],
      ]),
      body: 'x'.repeat(Math.floor(random() * 6_000)),
      ...(random() < 0.1 ? { deferred_ts: Date.now() / 1000 + random() * 5 } : {}),
      ...(random() < 0.05 ? { attachments: [ATTACHMENT] } : {}),
    }
    await world.submit(idsOf(`${name}-${batch}-`, BATCH), { fields, to })
    await pause(random() * 2 * BETWEEN_MS)
  }
}

/** Kills, stops and freezes of an instance until it is calm. */
async function setFire(
  world: World,
  instances: ServiceProcess[],
  random: Random,
  isCalm: () => boolean,
  onFire: () => void,
): Promise<void> {
  while (!isCalm()) {
    await pause(3_000 + random() * 7_000)
    const which = Math.floor(random() * instances.length)
    const victim = instances[which]!
    onFire()
    if (random() < 0.25) {
      victim.kill('SIGSTOP')
      // Longer than its lease: on PostgreSQL the other takes over what it had.
      await pause(3_000)
      victim.kill('SIGCONT')
      continue
    }
    victim.kill(random() < 0.3 ? 'SIGTERM' : 'SIGKILL')
    await victim.exited
    instances[which] = await world.start()
  }
}

function rcptAction(random: Random, address: string, n: number): SinkAction {
  // The ledger counts messages: one whose recipients go at different times comes to the server twice.
  if (address.startsWith('pair')) return null
  if (address.startsWith('unknown')) return '550 5.1.1 no such user'
  if (address.startsWith('grey') && n % 3 === 1) return '451 4.7.1 come back later'
  return sometimes(random, 0.005, '450 4.2.1 not now')
}

function reportAnswer(random: Random): SinkAnswer {
  const good = { body: { ok: true } }
  if (random() < 0.05) return { status: 500 }
  if (random() < 0.02) return { close: true }
  if (random() < 0.02) return { ...good, delayMs: 500 }
  return random() < 0.005 ? { hang: 'headers' } : good
}

function sometimes(random: Random, share: number, action: SinkAction): SinkAction {
  return random() < share ? action : null
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!
}

/** Of Linux: proc(5). */
function sampleOf({ pid }: ServiceProcess): Sample {
  const [, pages] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')
  return { rssMb: (Number(pages) * 4096) / 2 ** 20, handles: readdirSync(`/proc/${pid}/fd`).length }
}

function mean(samples: readonly Sample[]): number {
  return samples.reduce((sum, { rssMb }) => sum + rssMb, 0) / samples.length
}

function tell({ ledger }: World, began: number, instance: ServiceProcess): void {
  const seconds = Math.round((performance.now() - began) / 1000)
  process.stdout.write(
    `${String(seconds).padStart(6)} s  ${ledger.queued.size} accepted, ${ledger.waiting().length} to be reported, ${stateOf(instance)}\n`,
  )
}

/** It may be dead at the moment. */
function stateOf(instance: ServiceProcess): string {
  try {
    const { rssMb, handles } = sampleOf(instance)
    return `${Math.round(rssMb)} MB, ${handles} handles`
  } catch {
    return 'between a kill and a start'
  }
}
