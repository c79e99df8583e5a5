/**
 * `npm run demo`: a real service, an SMTP catcher and an example application on this machine, 200 messages, and at the
 * end a ledger that has to balance. `-- --stay` keeps all of it up to play with. Exits 0 when everything balances.
 */
import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type ExampleApp, startApp } from './app.js'
import { startCatcher, THINKING_MS } from './catcher.js'
import { prepareFiles, VOLUME } from './files.js'
import { balance } from './ledger.js'
import { GREYLISTED, REFUSED, writeMessages } from './messages.js'
import type { OutboxRow } from './outbox.js'
import { createProgress } from './progress.js'
import { createScreen, type Screen } from './screen.js'
import { type ServiceProcess, startServiceProcess } from './service-process.js'
import { stay } from './stay.js'

const MESSAGES = 200
const CONNECTIONS = 5
const TENANT = 'shop'
const SCHEDULED_IN_S = 5
const GIVE_UP_MS = 90_000
const LOOK_EVERY_MS = 150

const serviceMain = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  if (args.some(arg => arg !== '--stay')) {
    process.stderr.write('Usage: npm run demo [-- --stay]\n')
    return 2
  }
  const screen = createScreen(process.stdout, process.env)
  const stopped = stopOnSignal()
  const undo: (() => unknown)[] = []
  try {
    return await show(screen, args.includes('--stay'), stopped, each => undo.push(each))
  } catch (error) {
    if (stopped.aborted) return 130
    screen.line()
    screen.line(screen.bad(`✗ ${messageOf(error)}`))
    return 1
  } finally {
    if (stopped.aborted) screen.line('\nStopping.')
    for (const each of undo.reverse()) await each()
  }
}

async function show(screen: Screen, stays: boolean, stopped: AbortSignal, onEnd: (undo: () => unknown) => void) {
  const late = AbortSignal.timeout(GIVE_UP_MS)
  const startedAt = performance.now()
  const dir = await mkdtemp(join(tmpdir(), 'mail-proxy-demo-'))
  const removeDir = () => rmSync(dir, { recursive: true, force: true, maxRetries: 10 })
  process.once('exit', removeDir)
  onEnd(removeDir)

  screen.line()
  screen.line(screen.bold(`genro-mail-proxy: ${MESSAGES} messages from an application to a mail provider`))
  screen.line(screen.dim('All of it runs on this machine, in a temporary folder. No mail leaves it.'))
  screen.line()

  const files = await prepareFiles(join(dir, 'files'), TENANT)
  const app = await startApp(join(dir, 'shop.db'), files.contents)
  onEnd(() => app.close())
  const catcher = await startCatcher()
  onEnd(() => catcher.close())
  const service = await startServiceProcess(
    serviceMain,
    dir,
    process.env,
    { GMP_ATTACHMENT_BASE_DIR: files.dir },
    AbortSignal.any([stopped, late]),
  )
  onEnd(() => service.stop())
  const going = AbortSignal.any([stopped, late, service.lost])

  screen.step(
    'Service',
    `${service.url}, started with mail-proxy serve`,
    'Accepted means on disk: a crash or a power cut loses nothing.',
  )
  screen.step(
    'Provider',
    `${catcher.host}:${catcher.port}, keeps what it gets, takes ${THINKING_MS} ms a message`,
    `As awkward as real ones: ${local(REFUSED)} is unknown to it, ${local(GREYLISTED)} is put off at first.`,
  )
  screen.step(
    'Application',
    `${app.url}, a web shop with an outbox table`,
    'It writes a row, submits it, and a report closes it: no mail is forgotten.',
  )

  const tenantKey = await prepareTenant(service, catcher, app)
  await service.call('POST', '/volume', { name: VOLUME, backend: 'local', config: { root: files.dir } })
  screen.step(
    'Tenant',
    `“${TENANT}”, with a key, a mail account and an address for reports`,
    'Tenants share the service; each sees only its own mail, accounts and reports.',
  )

  const scheduledAt = Math.ceil(Date.now() / 1000) + SCHEDULED_IN_S
  const submission = await app.send(writeMessages(MESSAGES, scheduledAt, app.url), going)
  screen.step(
    'Submit',
    `${submission.queued} messages accepted; one is scheduled, three are difficult, four refer to files`,
    'From here on they are the service’s task, and the application is free.',
  )
  for (const { id, reason } of submission.rejected) screen.line(screen.bad(`✗ ${id} rejected: ${reason}`))

  screen.step(
    'Send',
    `the urgent ones first, over ${CONNECTIONS} connections that are kept open`,
    'A refusal stops one recipient, “later” delays one message; the rest goes on.',
  )
  await follow(screen, service, app, going).catch(error => {
    if (!late.aborted || stopped.aborted) throw error
    screen.line(screen.bad(`   not finished within ${GIVE_UP_MS / 1000} s: ${app.outbox.open()} still open`))
  })

  screen.line()
  screen.step(
    'Ledger',
    'outbox, service and arrived mail, compared',
    'Nothing may be lost, sent twice, changed on the way or left without a report.',
  )
  const checks = await balance({
    rows: app.outbox.rows(),
    reports: app.outbox.reports(),
    accepted: submission.queued,
    metric: await service.metrics(),
    files: files.contents,
    caught: catcher.caught,
  })
  for (const { ok, fact, figure } of checks) {
    screen.line(`   ${ok ? screen.good('✓') : screen.bad('✗')} ${fact.padEnd(42)} ${screen.dim(figure)}`)
  }
  const failed = checks.filter(check => !check.ok).length
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  screen.line()
  screen.line(
    failed === 0
      ? screen.good(screen.bold(`Everything balances, in ${seconds} s.`))
      : screen.bad(screen.bold(`${failed} of ${checks.length} checks failed, after ${seconds} s.`)),
  )
  if (!stays) screen.line(screen.dim('npm run demo -- --stay  keeps all of it up, with commands to try.'))
  screen.line()
  if (stays) {
    await stay(
      { screen, dir, service, catcher, app, tenantId: TENANT, tenantKey },
      AbortSignal.any([stopped, service.lost]),
    )
    if (service.lost.aborted) throw service.lost.reason
  }
  return failed === 0 ? 0 : 1
}

/** Creates the tenant and its account; returns the tenant's key. */
async function prepareTenant(
  service: ServiceProcess,
  catcher: Awaited<ReturnType<typeof startCatcher>>,
  app: ExampleApp,
) {
  const tenant = await service.call('POST', '/tenant', {
    id: TENANT,
    name: 'The shop',
    client_base_url: app.url,
    client_auth: { method: 'bearer', token: app.reportToken },
  })
  const apiKey = String(tenant.api_key)
  await service.call('POST', '/account', {
    tenant_id: TENANT,
    id: 'main',
    host: catcher.host,
    port: catcher.port,
    user: catcher.user,
    password: catcher.password,
    // The catcher has no certificate, and its traffic stays on this machine.
    use_tls: false,
    max_connections: CONNECTIONS,
  })
  app.connect({ url: service.url, apiKey })
  return apiKey
}

/** Shows the figures until the application knows the end of every message. */
async function follow(screen: Screen, service: ServiceProcess, app: ExampleApp, signal: AbortSignal): Promise<void> {
  const progress = createProgress(screen, MESSAGES)
  for (;;) {
    signal.throwIfAborted()
    const open = app.outbox.open()
    // Why there are none, if it ended, is told better by the signal than by a refused connection.
    const metric = await service.metrics().catch(() => null)
    if (metric !== null) {
      progress.show({
        queued: metric('gmp_pending_messages'),
        sent: metric('gmp_sent_total'),
        deferred: metric('gmp_deferred_total'),
        errors: metric('gmp_errors_total'),
        reported: MESSAGES - open,
        waiting: waiting(app.outbox.rows()),
      })
    }
    if (open === 0) break
    await sleep(LOOK_EVERY_MS, undefined, { signal })
  }
  progress.end()
}

/** Who waits for a time to come, and how long still. */
function waiting(rows: readonly OutboxRow[]): string[] {
  const now = Date.now() / 1000
  return rows
    .filter(row => row.sentTs === null && row.errorTs === null)
    .map(({ id, mail, deferredTs }) => ({ id, seconds: Math.ceil((deferredTs ?? mail.deferred_ts ?? now) - now) }))
    .filter(({ seconds }) => seconds > 0)
    .map(({ id, seconds }) => `${id.replace('order-', '')} ${seconds} s`)
}

/** The second signal does not wait. What must not stay behind is removed on `exit`. */
function stopOnSignal(): AbortSignal {
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => (stopping.signal.aborted ? process.exit(130) : stopping.abort(new Error(name))))
  }
  // Nobody reads any more, as with `| head`.
  process.stdout.on('error', () => stopping.abort(new Error('nobody reads')))
  return stopping.signal
}

/** An aborted wait says only that it was aborted; its cause says why. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.name === 'AbortError' && error.cause instanceof Error ? error.cause.message : error.message
}

function local(address: string): string {
  return address.slice(0, address.indexOf('@'))
}
