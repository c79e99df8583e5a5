/**
 * Faults between the service and an SMTP server, at each phase of a session: each costs no more than the table says, ends
 * in its time, and leaves nothing behind in the process.
 */
import { describe, expect, it } from 'vitest'
import { livingSmtpConnections } from '../support/census.js'
import { selfSigned } from '../support/certificate.js'
import { startProxy, type TcpProxy } from '../support/proxy.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { opened } from '../support/scene.js'
import { testSecret } from '../support/secrets.js'
import { startTestService, type TestService } from '../support/service.js'
import {
  dripping,
  endless,
  type Fault,
  garbage,
  halfOpen,
  omitted,
  overlong,
  reset,
  says,
  smtpScript,
  twice,
  type WirePhase,
} from '../support/smtp-proxy.js'
import { type SinkOptions, type SmtpSink, startSink } from '../support/smtp-sink.js'
import { expectBalanced, metric, tenant } from '../support/story.js'

/** Of each command, the final reply, and a login as a whole. */
const LIMIT_MS = 3_000
const certificate = selfSigned(['127.0.0.1'])
const LOGIN = { auth: ['PLAIN'], users: { user: testSecret('wire') } } as const satisfies SinkOptions
const FAULTS: Readonly<Record<string, Fault>> = {
  reset,
  'half-open': halfOpen,
  'too-slow': dripping(300, 1),
  slow: dripping(2, 200),
  garbage,
  'over-long': overlong,
  endless,
  twice,
  omitted,
  '421': says('421 4.3.2 Not now'),
}

/**
 * Once an account. sent: it costs nothing. retry: an attempt. pause: the account waits until a probe goes through; of a
 * message that was being offered an attempt. doubt: said so, an attempt, and a copy.
 */
const TABLE = `
  fault      greeting  ehlo   starttls  auth   mail   rcpt   data   final  quit  idle
  reset      retry     retry  retry     retry  retry  retry  retry  doubt  sent  sent
  half-open  retry     retry  retry     retry  retry  retry  retry  doubt  sent  sent
  too-slow   retry     retry  retry     retry  retry  retry  retry  doubt  sent  sent
  slow       sent      sent   -         sent   sent   sent   sent   sent   sent  sent
  garbage    retry     retry  retry     retry  retry  retry  retry  doubt  sent  sent
  over-long  retry     retry  retry     retry  retry  retry  retry  doubt  sent  sent
  endless    retry     retry  retry     retry  retry  retry  retry  doubt  sent  sent
  twice      retry     retry  sent      retry  retry  retry  retry  sent   sent  sent
  omitted    retry     retry  retry     retry  retry  retry  retry  doubt  sent  -
  421        pause     pause  pause     pause  pause  pause  pause  -      sent  sent`

/** Nothing comes, or not all of it: only the time limit ends that. */
const SILENT = new Set(['half-open', 'too-slow', 'omitted'])
const OFFERED = new Set(['mail', 'rcpt', 'data'])

interface Cell {
  readonly id: string
  readonly fault: string
  readonly phase: string
  readonly outcome: string
}

function cellsOf(table: string): Cell[] {
  const [[, ...phases], ...rows] = table
    .trim()
    .split('\n')
    .map(line => line.trim().split(/ +/)) as [string[], ...string[][]]
  return rows.flatMap(([fault, ...outcomes]) =>
    outcomes.flatMap((outcome, i) =>
      outcome === '-' ? [] : [{ id: `${fault}.${phases[i]}`, fault: fault!, phase: phases[i]!, outcome }],
    ),
  )
}

interface Bench {
  readonly service: TestService
  readonly client: ReportClient
  /** An account of this name on a sink of its own behind a proxy of its own. */
  account(id: string, at: WirePhase | null, nth: number, fault: Fault, fields?: Record<string, unknown>): Promise<void>
  readonly sinks: ReadonlyMap<string, SmtpSink>
  readonly proxies: ReadonlyMap<string, TcpProxy>
  hangUp(): Promise<void>
}

async function openBench(dialect: 'sqlite' | 'postgres'): Promise<Bench> {
  const limit = String(LIMIT_MS / 1_000)
  const env = {
    GMP_SMTP_CONNECT_TIMEOUT: limit,
    GMP_SMTP_COMMAND_TIMEOUT: limit,
    GMP_SMTP_FINAL_TIMEOUT: limit,
    GMP_MAX_CONCURRENT_SENDS: '1000',
  }
  const starting = startTestService({ dialect, env, overrides: { smtpCa: certificate.cert } })
  const service = await opened(starting, it => it.stop())
  const client = await opened(startReportClient(), it => it.close())
  await tenant(service, 'default', client)
  const sinks = new Map<string, SmtpSink>()
  const proxies = new Map<string, TcpProxy>()
  return {
    service,
    client,
    sinks,
    proxies,
    async account(id, at, nth, fault, fields = {}) {
      const tls = at === 'starttls' ? ({ tls: 'starttls', certificate } as const) : {}
      const sink = await startSink({ ...LOGIN, ...tls })
      const proxy = await startProxy(
        sink,
        smtpScript((phase, n) => (phase === at && n === nth ? fault : null)),
      )
      sinks.set(id, sink)
      proxies.set(id, proxy)
      await service.account(proxy, {
        id,
        user: 'user',
        password: testSecret('wire'),
        use_tls: at === 'starttls',
        ...fields,
      })
    },
    async hangUp() {
      for (const each of [...proxies.values(), ...sinks.values()]) await each.close()
    },
  }
}

/** What became of a message, by what was told of it. */
async function outcomeOf(id: string, { service, client, sinks }: Bench): Promise<string> {
  const told = client.acknowledged.filter(entry => entry.id === id)
  const { attempts } = await service.message(id)
  const doubted = told.some(entry => entry.in_doubt_ts !== undefined)
  const copies = sinks.get(id)!.messages.filter(({ raw }) => raw.includes(`X-Genro-Mail-ID: ${id}\r\n`)).length
  const paused = service.logs.some(line => line.startsWith(`ERROR Account ${id} of tenant default is paused`))
  const name = doubted ? 'doubt' : paused ? 'pause' : told.length > 1 ? 'retry' : 'sent'
  return `${name}, ${attempts} attempts, ${copies} copies`
}

function expected({ phase, outcome }: Cell): string {
  const attempts = outcome === 'sent' || (outcome === 'pause' && !OFFERED.has(phase)) ? 1 : 2
  return `${outcome}, ${attempts} attempts, ${outcome === 'doubt' ? 2 : 1} copies`
}

describe.each(['sqlite', 'postgres'] as const)('a fault of the wire to an SMTP server, on %s', dialect => {
  it('at a phase costs what the table says, ends in its time and leaves nothing behind', async () => {
    const bench = await openBench(dialect)
    const { service, client, proxies } = bench
    const cells = cellsOf(TABLE)
    for (const { id, fault, phase } of cells) {
      const at = phase === 'idle' ? null : (phase as WirePhase)
      await bench.account(id, at, 1, FAULTS[fault]!, phase === 'quit' ? { ttl: 0 } : {})
    }
    const idle = cells.filter(({ phase }) => phase === 'idle')
    await service.send(...idle.map(({ id }) => ({ id: `first-${id}`, account_id: id })))
    await service.until('idle connections', () => client.finals().length === idle.length)
    for (const { id, fault } of idle) {
      const [link] = proxies.get(id)!.links
      const words = FAULTS[fault]!('250 2.0.0 Ok\r\n', link!)
      if (words !== null) link!.toClient(words)
    }
    await service.send(...cells.map(({ id }) => ({ id, account_id: id })))
    const ids = [...idle.map(({ id }) => `first-${id}`), ...cells.map(({ id }) => id)]
    await expectBalanced(service, client, ids)

    const seen = await Promise.all(cells.map(async cell => [cell.id, await outcomeOf(cell.id, bench)]))
    expect(seen).toEqual(cells.map(cell => [cell.id, expected(cell)]))
    for (const { id, fault, outcome } of cells) {
      if (outcome !== 'retry' && outcome !== 'doubt') continue
      const [{ error, duration_ms }] = (await service.message(id)).attempt_log
      expect([id, /^Timed out/.test(error)]).toEqual([id, SILENT.has(fault)])
      // Twice: the login, then a command.
      expect([id, duration_ms < 2 * LIMIT_MS + 2_000]).toEqual([id, true])
    }
    await bench.hangUp()
    await service.until('no connection', async () => (await metric(service, 'gmp_smtp_connections_open')) === 0)
    if (dialect === 'sqlite') await service.until('nothing left of them', () => livingSmtpConnections() === 0)
  })
})
