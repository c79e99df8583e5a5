/** `mail-proxy <instance> check-loop`: watches a running instance for some seconds: do its loops make progress? */
import type { Command } from 'commander'
import { systemClock } from '../../lib/clock.js'
import { type Api, withApi } from '../api.js'
import { type Place, withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import type { LoopFacts, Status } from '../diagnose/facts.js'
import { type Finding, judgeLoops } from '../diagnose/judge.js'
import { CliError, ExitWith, UsageError } from '../errors.js'
import { createProgress } from '../output/progress.js'
import { show } from '../output/show.js'
import { table } from '../output/table.js'
import { duration, paintState } from '../output/text.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

const STATUS_MS = 3_000

interface Watched {
  readonly loops: readonly (LoopFacts & { readonly stepped: number })[]
  /** null: the database did not tell. */
  readonly open: { readonly before: number | null; readonly after: number | null }
  /** Why a loop may rest: it is told apart from one that hangs. */
  readonly rests: string | null
}

export function addCheckLoop(program: Command, { io, instance }: Place): void {
  const command = program
    .command('check-loop')
    .description('watch whether the loops of a running instance make progress; exit 1 when one does not')
    .option('--seconds <n>', 'how long to watch', '5')
    .action(async (options: { seconds: string; json?: boolean }) => {
      const seconds = Number(options.seconds)
      if (!/^\d{1,4}$/.test(options.seconds) || seconds < 1) throw new UsageError('--seconds should be 1 to 9999')
      const { config } = settingsOfKnownInstance(io, instance)
      if (findProcess(io, config.instance.dir) === null)
        throw new CliError(`${instance} does not run: nothing to watch`)
      const watched = await withApi(io, instance, api => watch(io, api, instance, seconds))
      const findings = judge(watched, instance, seconds)
      const stalled = findings.length > 0
      show(io, options, { instance, progress: !stalled, ...watched, findings }, () => asText(io, watched, findings))
      if (stalled) throw new ExitWith(1)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} check-loop`,
    `mail-proxy ${instance} check-loop --seconds 60`,
  ])
}

async function watch(io: CliIo, api: Api, instance: string, seconds: number): Promise<Watched> {
  if (api.via === 'database') throw new CliError(`${instance} does not run: nothing to watch`)
  const look = async () => {
    const { loops } = await api.call<{ loops: LoopFacts[] }>('GET', '/loops')
    return { loops: loops.filter(isAtWork), status: await statusOf(api) }
  }
  const first = await look()
  const progress = createProgress(io)
  for (let left = seconds; left > 0; left -= 1) {
    progress.step(`watching ${first.loops.length} loops, ${left} s left`)
    await systemClock.sleep(1_000)
  }
  const last = await look().finally(progress.end)
  const before = new Map(first.loops.map(each => [each.name, each.steps]))
  return {
    loops: last.loops.map(each => ({ ...each, stepped: each.steps - (before.get(each.name) ?? 0) })),
    open: { before: first.status?.pending_messages ?? null, after: last.status?.pending_messages ?? null },
    rests: restOf(last.status),
  }
}

/** Started, as a role without it does not. */
function isAtWork({ steps, running_ms: running, failures }: LoopFacts): boolean {
  return steps > 0 || running !== null || failures > 0
}

/** null: the database does not answer, which is what a hanging loop may wait for too. */
async function statusOf(api: Api): Promise<Status | null> {
  const late = systemClock.sleep(STATUS_MS).then(() => null)
  return Promise.race([api.call<Status>('GET', '/status').catch(() => null), late])
}

function restOf(status: Status | null): string | null {
  if (status === null) return 'the database does not answer'
  if (status.release_needed !== undefined) return status.release_needed
  return status.scheduler_active ? null : 'the scheduler is suspended: its loops step and send nothing'
}

/** Besides what a diagnosis sees at a glance: who should have stepped twice while we watched, and did not once. */
function judge({ loops }: Watched, instance: string, seconds: number): Finding[] {
  const known = judgeLoops(loops, instance)
  const silent = loops.filter(each => each.stepped === 0 && each.interval_ms * 2 < seconds * 1000)
  const todo = `look at the database (mail-proxy ${instance} diagnose), else mail-proxy restart ${instance}`
  const found = silent.map((each): Finding => {
    const step = each.running_ms === null ? '' : `; its step has been running for ${duration(each.running_ms / 1000)}`
    return {
      area: 'process',
      level: 'error',
      text: `the ${each.name} loop has not made a step in ${seconds} s${step}`,
      todo,
    }
  })
  return [...known, ...found.filter(each => !known.some(other => nameIn(other) === nameIn(each)))]
}

function nameIn({ text }: Finding): string | undefined {
  return /the (\w+) loop/.exec(text)?.[1]
}

function asText(io: CliIo, { loops, open, rests }: Watched, findings: readonly Finding[]): string {
  const stalled = new Set(findings.map(nameIn))
  const stateOf = (loop: LoopFacts) => (stalled.has(loop.name) ? 'failed' : 'ok')
  const text = table(
    io,
    loops,
    [
      { title: 'LOOP', of: each => each.name },
      { title: 'STATE', of: stateOf, paint: shown => paintState(io, shown) },
      { title: 'STEPS', of: each => each.stepped, align: 'right' },
      { title: 'LAST STEP', of: each => `${duration(each.idle_ms / 1000)} ago`, align: 'right' },
      { title: 'AT LEAST EVERY', of: each => duration(Math.max(1, each.interval_ms / 1000)), align: 'right' },
    ],
    'this process runs no loops (role api)',
  )
  const moved = `open messages: ${open.before ?? '?'} -> ${open.after ?? '?'}\n`
  const verdict =
    findings.length === 0
      ? `the loops make progress${rests === null ? '' : `; ${rests}`}\n`
      : findings.map(each => `${each.text}${each.todo === undefined ? '' : `\n  -> ${each.todo}`}\n`).join('')
  return `${text}\n${moved}${verdict}`
}
