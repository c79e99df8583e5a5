/**
 * From facts to findings: what is well, what is odd, what is wrong, and what to do about it. Pure, so that each judgement
 * has its test. What holds mail up is told once, at its cause.
 */
import { counted, duration, time } from '../output/text.js'
import type { AccountQueue, Facts, LoopFacts, ServiceFacts } from './facts.js'

export type Level = 'ok' | 'warning' | 'error'

export interface Finding {
  readonly area: 'configuration' | 'process' | 'database' | 'scheduler' | 'accounts' | 'queue' | 'tenants' | 'reports'
  readonly level: Level
  readonly text: string
  /** What to do, where something is to be done. */
  readonly todo?: string
}

/** Due for longer than this with nothing in its way, a message is stuck. */
const STUCK_SECONDS = 300
const OLD_REPORT_SECONDS = 3600
const CLOCK_ODD_MS = 1000
const CLOCK_WRONG_MS = 30_000
const SLOW_DATABASE_MS = 100

export function judge(facts: Facts): Finding[] {
  return [
    ...judgeConfiguration(facts),
    ...judgeProcess(facts),
    ...judgeDatabase(facts),
    ...(facts.service === null
      ? [failed('process', facts.unasked ?? 'the service could not be asked')]
      : judgeService(facts, facts.service)),
  ]
}

function judgeConfiguration({ warnings, instance }: Facts): Finding[] {
  if (warnings.length === 0) return [well('configuration', 'read without a warning')]
  return warnings.map(text => odd('configuration', text, `mail-proxy ${instance} config`))
}

function judgeProcess({ process, instance }: Facts): Finding[] {
  const { state, pid, url, version, ownVersion } = process
  if (state === 'stopped') {
    return [failed('process', 'it does not run: nothing is sent', `mail-proxy start ${instance} --background`)]
  }
  if (state === 'starting') {
    const text = `process ${pid} is starting: nothing is sent yet`
    return [failed('process', text, `look into its log (mail-proxy ${instance} info) for what it waits for`)]
  }
  if (state === 'not answering') {
    return [
      failed(
        'process',
        `process ${pid} is there and does not answer on ${url}`,
        `mail-proxy restart ${instance} --force`,
      ),
    ]
  }
  const runs = well('process', `it runs on ${url} (pid ${pid}), version ${version}`)
  if (version === ownVersion) return [runs]
  return [runs, odd('process', `this command is version ${ownVersion}`, `mail-proxy restart ${instance}`)]
}

function judgeDatabase({ database, instance }: Facts): Finding[] {
  const { shown, exists, problem, schema, integrity, freeMb, minFreeMb, sizeMb, walMb } = database
  if (!exists) return [odd('database', `${shown} does not exist yet`, `mail-proxy start ${instance} --background`)]
  if (problem !== null) {
    const text = problem.includes(shown) ? problem : `${shown}: ${problem}`
    return [failed('database', text, `mend what it names; where it lies stands in mail-proxy ${instance} config`)]
  }
  const findings: Finding[] = []
  if (schema !== null && schema.current > schema.latest) {
    const text = `it has schema ${schema.current}, this version knows ${schema.latest}`
    findings.push(failed('database', text, 'use the newer version it was migrated by'))
  } else if (schema !== null && schema.current < schema.latest) {
    const text = `it has schema ${schema.current} of ${schema.latest}`
    findings.push(failed('database', text, `mail-proxy ${instance} migrate`))
  }
  if (integrity !== null && integrity.join() !== 'ok') {
    const text = `the file is damaged: ${integrity[0]}`
    findings.push(failed('database', text, `stop the instance, keep a copy, and restore the last backup`))
  }
  if (freeMb !== null && freeMb < minFreeMb) {
    const text = `${Math.floor(freeMb)} MB of disk are free, below ${minFreeMb} MB submissions are refused`
    findings.push(failed('database', text, 'free disk space, or lower GMP_MIN_FREE_MB'))
  }
  if (walMb !== null && walMb > 1024) {
    findings.push(odd('database', `its write-ahead log has ${Math.round(walMb)} MB`, 'end whatever reads it for hours'))
  }
  if (findings.length > 0) return findings
  const size = sizeMb === null ? '' : `, ${Math.ceil(sizeMb)} MB`
  const free = freeMb === null ? '' : `, ${Math.floor(freeMb)} MB free`
  return [well('database', `${shown}: schema ${schema?.current ?? '?'}${size}${free}`)]
}

function judgeService(facts: Facts, service: ServiceFacts): Finding[] {
  return [
    ...judgeClock(facts, service),
    ...judgeWorkers(facts, service),
    ...judgeLoops(service.loops, facts.instance),
    ...judgeScheduler(facts, service),
    ...judgeAccounts(facts, service),
    ...judgeQueue(facts, service),
    ...judgeTenants(facts, service),
    ...judgeReports(facts, service),
  ]
}

function judgeClock({ database: { dialect } }: Facts, { diagnostics: { database } }: ServiceFacts): Finding[] {
  const findings: Finding[] = []
  if (database.round_trip_ms > SLOW_DATABASE_MS) {
    const text = `a query takes ${Math.round(database.round_trip_ms)} ms`
    findings.push(odd('database', text, 'look at its load, and at the network between'))
  }
  const ahead = Math.abs(database.ahead_ms)
  if (dialect === 'postgres' && ahead > CLOCK_ODD_MS) {
    const text = `its clock and that of this machine differ by ${duration(ahead / 1000)}`
    const todo = 'let both follow NTP'
    findings.push(ahead > CLOCK_WRONG_MS ? failed('database', text, todo) : odd('database', text, todo))
  }
  return findings
}

function judgeWorkers({ process, instance }: Facts, { diagnostics: { workers } }: ServiceFacts): Finding[] {
  const dead = workers.filter(each => each.left_ms <= 0)
  const findings = dead.map(each => {
    const since = duration(-each.left_ms / 1000)
    return odd(
      'process',
      `${each.holder} ended without a word; its lease ran out ${since} ago`,
      'a living worker takes over by itself',
    )
  })
  if (process.state === 'running' && workers.length === dead.length) {
    return [
      ...findings,
      failed(
        'process',
        'no process sends on this database',
        `mail-proxy restart ${instance} (with --role all or worker)`,
      ),
    ]
  }
  return findings
}

/** Also what check-loop asks at its end. */
export function judgeLoops(loops: readonly LoopFacts[], instance: string): Finding[] {
  return loops.flatMap(loop => {
    if (loop.failures > 0) {
      const text = `the ${loop.name} loop failed ${counted(loop.failures, 'time')} in a row: ${loop.last_error}`
      return [failed('process', text, 'mend what it names; it goes on by itself')]
    }
    if (loop.steps > 0 && loop.idle_ms > patienceMs(loop)) {
      const text = `the ${loop.name} loop has made no progress for ${duration(loop.idle_ms / 1000)}`
      return [failed('process', text, `mail-proxy restart ${instance} --force`)]
    }
    return []
  })
}

/** A step may take a while on a large backlog; ten intervals and half a minute it may not. */
function patienceMs({ interval_ms: interval }: LoopFacts): number {
  return Math.max(interval * 3, interval + 30_000)
}

function judgeScheduler({ instance }: Facts, { status, tenants, diagnostics }: ServiceFacts): Finding[] {
  const findings: Finding[] = []
  if (status.release_needed !== undefined) {
    const todo = `look at what waits, then mail-proxy restart ${instance} --release`
    findings.push(failed('scheduler', `nothing is sent and nothing reported: ${status.release_needed}`, todo))
  }
  if (!status.scheduler_active) {
    findings.push(failed('scheduler', 'the whole scheduler is suspended', `mail-proxy ${instance} activate`))
  }
  if (diagnostics.test_mode)
    findings.push(odd('scheduler', 'test mode: it sends only on run-now', 'unset GMP_TEST_MODE'))
  if (status.draining) findings.push(odd('process', 'it is stopping'))
  for (const { id, suspended_batches: batches = [] } of tenants) {
    if (batches.length === 0) continue
    const what = batches.includes('*')
      ? `tenant ${id} is suspended`
      : `tenant ${id}: batch ${batches.join(', ')} is suspended`
    findings.push(odd('scheduler', what, `mail-proxy ${instance} ${id} activate`))
  }
  return findings.length > 0 ? findings : [well('scheduler', 'it may send')]
}

function judgeAccounts(facts: Facts, { accounts }: ServiceFacts): Finding[] {
  const { instance, accountTests, isNetworkTested } = facts
  if (accounts.length === 0) {
    return [odd('accounts', 'there is no SMTP account', `mail-proxy ${instance} <tenant> accounts add`)]
  }
  const findings: Finding[] = []
  for (const { tenant_id: tenant, id, pause, host, port } of accounts) {
    const name = `${tenant}/${id}`
    const test = accountTests.find(each => each.tenant_id === tenant && each.account_id === id)
    if (pause !== undefined) {
      const by = pause.kind === 'manual' ? 'by an operator' : 'by its server'
      const next = pause.next_probe_ts === undefined ? '' : `; next try ${time(pause.next_probe_ts)}`
      const todo =
        pause.kind === 'manual'
          ? `mail-proxy ${instance} ${tenant} accounts resume ${id}`
          : test?.ok
            ? 'its login works now: it resumes by itself, or at once with accounts resume'
            : `mend it (accounts update), then mail-proxy ${instance} ${tenant} accounts test ${id}`
      findings.push(failed('accounts', `${name} is paused ${by}: ${pause.reason}${next}`, todo))
    } else if (test !== undefined && !test.ok) {
      const text = `${name} cannot log in to ${host}:${port}: ${test.error}`
      findings.push(failed('accounts', text, `mail-proxy ${instance} ${tenant} accounts test ${id}`))
    }
  }
  const good = accounts.length - findings.length
  if (good > 0) {
    const tested = isNetworkTested ? 'log in' : 'are not paused (logins were not tried)'
    findings.push(well('accounts', `${good} of ${accounts.length} ${tested}`))
  }
  return findings
}

function judgeQueue(facts: Facts, service: ServiceFacts): Finding[] {
  const { queue, now_ts: now } = service.diagnostics
  const findings = queue.flatMap(each => judgeBacklog(each, facts, service, now))
  if (findings.length > 0) return findings
  const open = queue.reduce((sum, each) => sum + each.ready + each.waiting + each.sending, 0)
  return [well('queue', open === 0 ? 'nothing waits' : `${counted(open, 'message')}, none due for long`)]
}

function judgeBacklog(each: AccountQueue, { instance }: Facts, service: ServiceFacts, now: number): Finding[] {
  const findings: Finding[] = []
  const name = `${each.tenant_id}/${each.account_id}`
  const list = `mail-proxy ${instance} ${each.tenant_id} messages list --account ${each.account_id}`
  if (each.in_doubt > 0) {
    const text = `${name}: ${each.in_doubt} held in doubt: the server may have taken them`
    findings.push(odd('queue', text, `${list} --status in_doubt, then messages release or discard`))
  }
  if (each.orphaned > 0) {
    const text = `${name}: ${each.orphaned} are claimed by a process that is gone`
    findings.push(odd('queue', text, 'a living worker frees them when the lease has run out'))
  }
  const age = each.oldest_due_ts === null ? 0 : now - each.oldest_due_ts
  if (each.ready === 0 || age < STUCK_SECONDS) return findings
  const backlog = `${name}: ${each.ready} due, the oldest for ${duration(age)}`
  const reason = reasonOf(each, service)
  // Told at its cause already.
  if (reason === 'told') findings.push(odd('queue', backlog))
  else if (reason !== null) findings.push(odd('queue', `${backlog}; ${reason}`))
  else {
    const todo =
      each.sending > 0
        ? `mail-proxy ${instance} check-loop; raise max_connections if its server can take more`
        : `mail-proxy ${instance} check-loop`
    findings.push(
      each.sending > 0
        ? odd('queue', `${backlog}; ${each.sending} are being sent`, todo)
        : failed('queue', `${backlog}, and nothing seems to hold them`, todo),
    )
  }
  return findings
}

/** What holds it; 'told': another finding says so. null: nothing does. */
function reasonOf(each: AccountQueue, { accounts, tenants, status, diagnostics }: ServiceFacts): string | null {
  const account = accounts.find(({ tenant_id, id }) => tenant_id === each.tenant_id && id === each.account_id)
  const tenant = tenants.find(({ id }) => id === each.tenant_id)
  if (status.release_needed !== undefined || !status.scheduler_active || diagnostics.test_mode) return 'told'
  if (account === undefined) return 'its account is gone'
  if (account.pause !== undefined || tenant?.suspended_batches !== undefined) return 'told'
  if (tenant?.active === false) return 'its tenant is inactive'
  if (each.never_opens) return 'no sending rule ever opens for it'
  if (each.opens_ts !== null && each.opens_ts > diagnostics.now_ts)
    return `its sending rules open ${time(each.opens_ts)}`
  const full = each.limits.find(({ used, limit }) => used >= limit)
  if (full === undefined) return null
  const window = duration(full.window_seconds)
  return `the ${full.of}'s limit of ${full.limit} in ${window} is reached, a place is free ${time(full.next_free_ts)}`
}

function judgeTenants({ syncTests, isNetworkTested, instance }: Facts, service: ServiceFacts): Finding[] {
  const failures = syncTests.filter(each => !each.ok && each.url !== null)
  const findings = failures.map(each => {
    const text = `${each.tenant_id}: ${each.url} does not acknowledge reports: ${each.error}`
    return failed(
      'tenants',
      text,
      `mend the endpoint, or mail-proxy ${instance} tenants update ${each.tenant_id} --base-url …`,
    )
  })
  for (const { id, active } of service.tenants) {
    if (!active)
      findings.push(
        odd(
          'tenants',
          `${id} is inactive: its submissions are refused`,
          `mail-proxy ${instance} tenants update ${id} --active`,
        ),
      )
  }
  const good = syncTests.filter(each => each.ok).length
  const silent = service.tenants.filter(each => each.client_base_url === undefined).length
  const tested = isNetworkTested
    ? `${counted(good, 'endpoint acknowledges', 'endpoints acknowledge')}`
    : 'endpoints were not tried'
  const without =
    silent > 0 && !service.diagnostics.global_endpoint
      ? `; ${counted(silent, 'has none: its messages count', 'have none: their messages count')} as reported when they end`
      : ''
  return [...findings, well('tenants', `${counted(service.tenants.length, 'tenant')}, ${tested}${without}`)]
}

function judgeReports({ syncTests }: Facts, { diagnostics: { reports, now_ts: now } }: ServiceFacts): Finding[] {
  const findings = reports.flatMap(each => {
    const age = now - each.oldest_ts
    const old = age > OLD_REPORT_SECONDS
    if (each.failures === 0 && !old) return []
    const retry = each.retry_ts === null || each.retry_ts <= now ? '' : `, next call ${time(each.retry_ts)}`
    const text = `${each.tenant_id}: ${counted(each.pending, 'entry waits', 'entries wait')}, the oldest for ${duration(age)}, ${counted(each.failures, 'call')} failed in a row${retry}`
    const works = syncTests.find(test => test.tenant_id === each.tenant_id)?.ok
    const todo = works
      ? 'its endpoint answers now: run-now sends them at once'
      : 'mend its endpoint; they are kept for 30 days'
    return [old ? failed('reports', text, todo) : odd('reports', text, todo)]
  })
  if (findings.length > 0) return findings
  const pending = reports.reduce((sum, each) => sum + each.pending, 0)
  return [
    well('reports', pending === 0 ? 'all are acknowledged' : `${counted(pending, 'entry', 'entries')} on their way`),
  ]
}

function well(area: Finding['area'], text: string): Finding {
  return { area, level: 'ok', text }
}

function odd(area: Finding['area'], text: string, todo?: string): Finding {
  return todo === undefined ? { area, level: 'warning', text } : { area, level: 'warning', text, todo }
}

function failed(area: Finding['area'], text: string, todo?: string): Finding {
  return todo === undefined ? { area, level: 'error', text } : { area, level: 'error', text, todo }
}
