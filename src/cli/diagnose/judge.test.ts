import { describe, expect, it } from 'vitest'
import type { AccountQueue, Facts, LoopFacts, ServiceFacts } from './facts.js'
import { judge, judgeLoops } from './judge.js'

const NOW = 1_800_000_000

const idle: AccountQueue = {
  tenant_id: 'acme',
  account_id: 'main',
  ready: 0,
  ready_by_age: {},
  oldest_due_ts: null,
  waiting: 0,
  next_due_ts: null,
  sending: 0,
  orphaned: 0,
  in_doubt: 0,
  opens_ts: null,
  never_opens: false,
  limits: [],
}
const stuck: AccountQueue = { ...idle, ready: 7, oldest_due_ts: NOW - 3700 }

const service: ServiceFacts = {
  status: { scheduler_active: true, draining: false, pending_messages: 0, version: '1.0.0' },
  loops: [],
  diagnostics: {
    now_ts: NOW,
    test_mode: false,
    global_endpoint: false,
    database: { round_trip_ms: 1, ahead_ms: 0 },
    workers: [{ holder: 'host process 1', started_ts: NOW - 100, left_ms: 40_000 }],
    queue: [],
    reports: [],
  },
  accounts: [{ id: 'main', tenant_id: 'acme', host: 'smtp.example.com', port: 587 }],
  tenants: [{ id: 'acme', active: true, client_base_url: 'https://app.example.com' }],
}

const good: Facts = {
  instance: 'shop',
  warnings: [],
  process: { state: 'running', pid: 7, url: 'http://127.0.0.1:8000', version: '1.0.0', ownVersion: '1.0.0' },
  database: {
    shown: '/data/mail.db',
    dialect: 'sqlite',
    exists: true,
    problem: null,
    schema: { current: 1, latest: 1 },
    integrity: ['ok'],
    sizeMb: 3.2,
    walMb: 0,
    freeMb: 5000,
    minFreeMb: 256,
  },
  service,
  unasked: null,
  accountTests: [{ tenant_id: 'acme', account_id: 'main', ok: true, error: null }],
  syncTests: [
    { tenant_id: 'acme', ok: true, url: 'https://app.example.com/mail-proxy/sync', error: null, duration_ms: 4 },
  ],
  isNetworkTested: true,
}

/** The findings that are not ok, as `level area: text`. */
function troubles(facts: Facts): string[] {
  return judge(facts)
    .filter(({ level }) => level !== 'ok')
    .map(({ level, area, text }) => `${level} ${area}: ${text}`)
}

const withService = (change: Partial<ServiceFacts>): Facts => ({ ...good, service: { ...service, ...change } })
const withQueue = (each: AccountQueue, change: Partial<ServiceFacts> = {}): Facts =>
  withService({ ...change, diagnostics: { ...service.diagnostics, queue: [each] } })

it('finds nothing in an instance that is well', () => {
  expect(troubles(good)).toEqual([])
  expect(judge(good).map(({ area }) => area)).toEqual([
    'configuration',
    'process',
    'database',
    'scheduler',
    'accounts',
    'queue',
    'tenants',
    'reports',
  ])
})

describe('a backlog', () => {
  it('is no trouble while it is young', () => {
    expect(troubles(withQueue({ ...stuck, oldest_due_ts: NOW - 200 }))).toEqual([])
  })

  it('is an error when nothing holds it', () => {
    expect(troubles(withQueue(stuck))).toEqual([
      'error queue: acme/main: 7 due, the oldest for 1 h 1 min, and nothing seems to hold them',
    ])
  })

  it('is told with what holds it', () => {
    const limit = { of: 'account', window_seconds: 3600, limit: 50, used: 50, next_free_ts: NOW + 60 }
    const cases: [AccountQueue, RegExp][] = [
      [{ ...stuck, sending: 3 }, /; 3 are being sent$/],
      [{ ...stuck, never_opens: true }, /no sending rule ever opens for it$/],
      [{ ...stuck, opens_ts: NOW + 60 }, /its sending rules open \d{4}-/],
      [{ ...stuck, limits: [limit] }, /the account's limit of 50 in 1 h is reached, a place is free \d{4}-/],
      [{ ...stuck, account_id: 'gone' }, /its account is gone$/],
    ]
    for (const [queue, words] of cases) {
      const [found, ...more] = troubles(withQueue(queue))
      expect(found).toMatch(words)
      expect(found).toMatch(/^warning queue/)
      expect(more).toEqual([])
    }
  })

  it('behind a pause or a suspension is told without a riddle of its own', () => {
    const account = { ...service.accounts[0]!, pause: { kind: 'failure', reason: '535 no', next_probe_ts: NOW + 9 } }
    const paused = troubles(withQueue(stuck, { accounts: [account] }))
    expect(paused[0]).toMatch(/^error accounts: acme\/main is paused by its server: 535 no; next try/)
    expect(paused[1]).toBe('warning queue: acme/main: 7 due, the oldest for 1 h 1 min')
    const tenants = [{ ...service.tenants[0]!, suspended_batches: ['june'] }]
    expect(troubles(withQueue(stuck, { tenants }))).toEqual([
      'warning scheduler: tenant acme: batch june is suspended',
      'warning queue: acme/main: 7 due, the oldest for 1 h 1 min',
    ])
  })

  it('tells doubts and claims of the dead besides', () => {
    expect(troubles(withQueue({ ...idle, in_doubt: 2, orphaned: 4, sending: 4 }))).toEqual([
      'warning queue: acme/main: 2 held in doubt: the server may have taken them',
      'warning queue: acme/main: 4 are claimed by a process that is gone',
    ])
  })
})

describe('the process', () => {
  it('that does not run, does not answer or has another version', () => {
    const process = good.process
    expect(troubles({ ...good, process: { ...process, state: 'stopped' } })[0]).toMatch(
      /^error process: it does not run/,
    )
    expect(troubles({ ...good, process: { ...process, state: 'not answering' } })[0]).toMatch(/process 7 is there and/)
    expect(troubles({ ...good, process: { ...process, version: '0.9.0' } })).toEqual([
      'warning process: this command is version 1.0.0',
    ])
  })

  it('without a living worker beside it', () => {
    const workers = [{ holder: 'host process 1', started_ts: NOW, left_ms: -90_000 }]
    const facts = withService({ diagnostics: { ...service.diagnostics, workers } })
    expect(troubles(facts)).toEqual([
      'warning process: host process 1 ended without a word; its lease ran out 1 min 30 s ago',
      'error process: no process sends on this database',
    ])
  })
})

it('the database: schema, damage, disk, log, clock', () => {
  const database = good.database
  expect(troubles({ ...good, database: { ...database, schema: { current: 1, latest: 2 } } })).toEqual([
    'error database: it has schema 1 of 2',
  ])
  expect(troubles({ ...good, database: { ...database, schema: { current: 3, latest: 2 } } })[0]).toMatch(/knows 2$/)
  expect(troubles({ ...good, database: { ...database, integrity: ['row 5 missing'] } })[0]).toMatch(/damaged: row 5/)
  expect(troubles({ ...good, database: { ...database, freeMb: 20 } })[0]).toMatch(/^error database: 20 MB of disk/)
  expect(troubles({ ...good, database: { ...database, walMb: 2000 } })[0]).toMatch(/write-ahead log has 2000 MB/)
  const far = { ...service.diagnostics, database: { round_trip_ms: 450, ahead_ms: -45_000 } }
  const remote = { ...withService({ diagnostics: far }), database: { ...database, dialect: 'postgres' as const } }
  expect(troubles(remote)).toEqual([
    'warning database: a query takes 450 ms',
    'error database: its clock and that of this machine differ by 45 s',
  ])
})

it('what could not be asked is an error with its reason', () => {
  expect(troubles({ ...good, service: null, unasked: 'Invalid or missing API token' })).toEqual([
    'error process: Invalid or missing API token',
  ])
})

it('logins, endpoints and owed reports', () => {
  const accountTests = [{ tenant_id: 'acme', account_id: 'main', ok: false, error: '535 no' }]
  expect(troubles({ ...good, accountTests })).toEqual([
    'error accounts: acme/main cannot log in to smtp.example.com:587: 535 no',
  ])
  const syncTests = [{ ...good.syncTests[0]!, ok: false, error: 'HTTP 500' }]
  expect(troubles({ ...good, syncTests })).toEqual([
    'error tenants: acme: https://app.example.com/mail-proxy/sync does not acknowledge reports: HTTP 500',
  ])
  const owed = { tenant_id: 'acme', pending: 1, oldest_ts: NOW - 60, failures: 1, retry_ts: null, last_sync_ts: null }
  const reports = (each: typeof owed) => withService({ diagnostics: { ...service.diagnostics, reports: [each] } })
  expect(troubles(reports(owed))).toEqual([
    'warning reports: acme: 1 entry waits, the oldest for 1 min, 1 call failed in a row',
  ])
  expect(troubles(reports({ ...owed, oldest_ts: NOW - 7200 }))[0]).toMatch(/^error reports/)
  expect(troubles(reports({ ...owed, failures: 0 }))).toEqual([])
})

it('a loop is judged by its own pace', () => {
  const loop: LoopFacts = {
    name: 'dispatch',
    interval_ms: 500,
    steps: 9,
    idle_ms: 20_000,
    running_ms: null,
    failures: 0,
    last_error: null,
  }
  expect(judgeLoops([loop], 'shop')).toEqual([])
  expect(judgeLoops([{ ...loop, idle_ms: 40_000 }], 'shop')[0]?.text).toBe(
    'the dispatch loop has made no progress for 40 s',
  )
  expect(judgeLoops([{ ...loop, interval_ms: 600_000, idle_ms: 500_000 }], 'shop')).toEqual([])
  expect(judgeLoops([{ ...loop, failures: 2, last_error: 'no database' }], 'shop')[0]?.text).toBe(
    'the dispatch loop failed 2 times in a row: no database',
  )
})
