/**
 * Accounts whose server will not have them: paused, probed without a message, resumed by themselves (spec section
 * 4.3). The queue behind keeps its attempts; it is told once, with the server's words, and fails with those words when
 * the pause outlasts the whole retry schedule.
 */
import type { Account } from '../accounts/account.js'
import {
  claimProbes,
  endTrial,
  failuresInARow,
  makeProbesDue,
  noteFailedProbe,
  pauseByFailure,
  resumeAfterProbe,
} from '../accounts/pause.js'
import { type Db, type Row, rowsParam } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Step } from '../lib/loop.js'
import { endOpen } from '../queue/end.js'
import { deferredEntry, entryBase } from '../queue/report-entry.js'
import { Cause } from '../queue/stage.js'
import { type MailTransport, SmtpFailure } from '../smtp/transport.js'
import { failureWords } from './classify.js'
import { tell } from './limit-deferral.js'

export interface PauseOptions {
  readonly probeFirstMs: number
  readonly probeMaxMs: number
  /** The whole retry schedule, ms: a pause longer than this fails what waited through it. */
  readonly patienceMs: number
}

export interface PauseDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly transport: MailTransport
  loadAccounts(keys: readonly number[]): Promise<readonly Account[]>
  /** The pause of an account changed; caches are stale. */
  changed(accountKey: number): void
  /** Reports were written. */
  told(tenantId: string, accountId: string, deferred: number, failed: number): void
  paused(account: Account): void
  probed(ok: boolean): void
  resumed(accountKey: number): void
}

export interface Pauses {
  step(): Promise<Step>
  /** A delivery found that the account cannot work now. The first to say so pauses it. */
  pause(account: Account, text: string, code: string | null): Promise<void>
  /** A transaction of an account on trial went well. */
  worked(account: Account): Promise<void>
  /** The wall clock was set: nothing waits any longer for an instant of before. */
  clockWasSet(): Promise<void>
  stop(): void
}

const CHUNK = 500
const PROBES_AT_ONCE = 50
/** A probe that takes longer than this is another instance's to repeat. */
const PROBE_LIMIT_MS = 120_000
/** How often the queue behind paused accounts is looked through for newcomers. */
const TELL_EVERY_MS = 2_000
/** How rarely, at the end, it is looked through from its start; the first time is at the next look. */
const WHOLE_LOOK_MAX_MS = 60_000

/** Of the account $1; asked with each piece of a long queue, for it may be resumed meanwhile. */
const stillPaused = (since = '') => `exists (select 1 from accounts where key = $1 and pause_kind = 'failure' ${since})`

/** How far a queue was looked through, and when from its start again: what was in flight comes back to its old place. */
interface Look {
  readonly upTo: number
  readonly wholeAt: number
  readonly wholeEveryMs: number
}

export function createPauses(deps: PauseDeps, options: PauseOptions): Pauses {
  const { db, clock, log, transport, loadAccounts } = deps
  const stopping = new AbortController()
  const probing = new Map<number, Promise<void>>()
  /** By account: a long queue is not looked through every time. */
  const looks = new Map<number, Look>()
  let tellAt = 0

  const step = async (): Promise<Step> => {
    const now = clock.now()
    const [first] = await db.read({
      sql: "select min(probe_at) as at from accounts where pause_kind = 'failure'",
      params: [],
    })
    if (first?.at === null || first?.at === undefined) return { nextAt: null, again: false }
    // Taken by moving it: of many instances one probes, and another one should that one die.
    if (Number(first.at) <= now) {
      const due = await claimProbes(db, { now, again: now + PROBE_LIMIT_MS, limit: PROBES_AT_ONCE - probing.size })
      for (const key of due) startProbe(key)
    }
    if (now >= tellAt) {
      tellAt = now + TELL_EVERY_MS
      await tellQueues(now)
    }
    return { nextAt: Math.max(Math.min(Number(first.at), tellAt), now + 50), again: false }
  }

  const startProbe = (key: number) => {
    if (probing.has(key)) return
    const done = probe(key)
      .catch(error => log.error(`Probing an account failed: ${(error as Error).message}`))
      .finally(() => probing.delete(key))
    probing.set(key, done)
  }

  const probe = async (key: number) => {
    const [account] = await loadAccounts([key])
    if (account?.pause?.kind !== 'failure') return
    try {
      await transport.probe(account, stopping.signal)
    } catch (error) {
      if (stopping.signal.aborted) return
      deps.probed(false)
      const now = clock.now()
      const probeAt = now + waitBeforeProbe(account.pause.probes + 1)
      await noteFailedProbe(db, { key, now, reason: reasonOf(error), code: codeOf(error), probeAt })
      // It has just said no. Looks at the queues may come only while it is asked again, with probes less than a second apart.
      const [paused] = await readPaused('and key = $1', [key])
      if (paused !== undefined) await failTheOutwaited(paused, now)
      return
    }
    deps.probed(true)
    if (!(await resumeAfterProbe(db, key, clock.now()))) return
    looks.delete(key)
    log.info(`Account ${account.id} of tenant ${account.tenantId} works again`, named(account))
    deps.changed(key)
    deps.resumed(key)
  }

  const waitBeforeProbe = (failures: number) =>
    Math.min(options.probeMaxMs, options.probeFirstMs * 2 ** Math.min(failures, 20))

  const tellQueues = async (now: number) => {
    const paused = await readPaused('', [])
    for (const row of paused) {
      if (hasAnswer(row, now)) await failTheOutwaited(row, now)
      await tellNewcomers(row, now)
    }
    const keys = new Set(paused.map(row => Number(row.key)))
    for (const key of looks.keys()) if (!keys.has(key)) looks.delete(key)
  }

  const readPaused = (condition: string, params: readonly number[]) =>
    db.read({
      sql: `select key, tenant_id, id, pause_since, pause_reason, pause_code, probe_at, failed_at, on_pause_timeout
        from accounts where pause_kind = 'failure' ${condition}`,
      params,
    })

  /** After a time in which nobody probed (the service was down) the server may be back: first it is asked. */
  const hasAnswer = ({ key, probe_at: probeAt, failed_at: failedAt }: Row, now: number) =>
    !probing.has(Number(key)) &&
    Number(probeAt) > now &&
    Number(failedAt) >= now - 2 * options.probeMaxMs - PROBE_LIMIT_MS

  const tellNewcomers = async (account: Row, now: number) => {
    const key = Number(account.key)
    const nextAt = Math.max(now, Number(account.probe_at ?? now))
    const last = looks.get(key) ?? { upTo: 0, wholeAt: now, wholeEveryMs: TELL_EVERY_MS }
    const whole = now >= last.wholeAt
    let from = whole ? 0 : last.upTo
    for (;;) {
      const rows = await db.read({
        sql: `select seq, tenant_id, id, account_id, priority, attempts from messages
          where account_key = $1 and stage = 1 and seq > $2 and (causes & $4) = 0 and ${stillPaused()}
          order by seq limit $3`,
        params: [key, from, CHUNK, Cause.account],
      })
      if (rows.length > 0) {
        const given = rows.map(row => ({
          k: Number(row.seq),
          t: row.tenant_id as string,
          d: nextAt,
          e: JSON.stringify(deferredEntry(entryBase(row), nextAt, account.pause_reason as string)),
        }))
        const told = await tell(db, given, Cause.account, account.pause_reason as string, now)
        if (told > 0) deps.told(account.tenant_id as string, account.id as string, told, 0)
        from = Number(rows.at(-1)?.seq)
      }
      if (rows.length < CHUNK) break
    }
    const upTo = Math.max(from, last.upTo)
    const wholeEveryMs = Math.min(WHOLE_LOOK_MAX_MS, last.wholeEveryMs * 2)
    looks.set(key, whole ? { upTo, wholeAt: now + last.wholeEveryMs, wholeEveryMs } : { ...last, upTo })
  }

  const failTheOutwaited = async (account: Row, now: number) => {
    const outwaited = now - options.patienceMs
    if (account.on_pause_timeout === 'hold' || Number(account.pause_since) > outwaited) return
    for (;;) {
      const rows = await db.read({
        sql: `select seq from messages where account_key = $1 and stage = 1 and due_at <= $2
          and ${stillPaused('and pause_since <= $2')} limit $3`,
        params: [Number(account.key), outwaited, CHUNK],
      })
      if (rows.length === 0) return
      const ended = await endOpen(db, {
        now,
        from: {
          sql: 'select g.k from @rows($1: k bigint) g',
          given: rowsParam(rows.map(row => ({ k: Number(row.seq) }))),
        },
        stages: [1],
        status: 'error',
        type: 'error',
        code: (account.pause_code as string | null) ?? 'account_unavailable',
        error: `Account paused for too long: ${account.pause_reason}`,
      })
      deps.told(account.tenant_id as string, account.id as string, 0, ended.seqs.length)
      if (ended.seqs.length === 0) return
    }
  }

  return {
    step,
    async pause(account, text, code) {
      const now = clock.now()
      const probeAt = now + waitBeforeProbe(failuresInARow(account, now))
      const first = await pauseByFailure(db, { key: account.key, now, reason: text, code, probeAt })
      deps.changed(account.key)
      if (!first) return
      deps.paused(account)
      tellAt = 0
      log.error(`Account ${account.id} of tenant ${account.tenantId} is paused: ${text}`, named(account))
    },
    async worked(account) {
      if (await endTrial(db, account.key)) deps.changed(account.key)
    },
    async clockWasSet() {
      tellAt = 0
      looks.clear()
      await makeProbesDue(db, clock.now())
    },
    stop: () => stopping.abort(),
  }
}

function named(account: Account) {
  return { account_id: account.id, tenant_id: account.tenantId }
}

function reasonOf(error: unknown): string {
  return error instanceof SmtpFailure ? failureWords(error) : (error as Error).message
}

function codeOf(error: unknown): string | null {
  return error instanceof SmtpFailure && error.info.reply !== null ? String(error.info.reply.code) : null
}
