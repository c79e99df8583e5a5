/** `mail-proxy <instance> check-loop`: watches a running instance for some seconds: do its loops make progress? */
import type { Command } from 'commander'
import { systemClock } from '../../lib/clock.js'
import { type Api, withApi } from '../api.js'
import { type Place, withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import type { Diagnostics, LoopFacts, Status } from '../diagnose/facts.js'
import { judgeLoops } from '../diagnose/judge.js'
import { CliError, ExitWith, UsageError } from '../errors.js'
import { createProgress } from '../output/progress.js'
import { show } from '../output/show.js'
import { table } from '../output/table.js'
import { duration, paintState } from '../output/text.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

interface Watched {
  readonly loops: readonly (LoopFacts & { readonly stepped: number })[]
  readonly open: { readonly before: number; readonly after: number }
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
      const findings = judgeLoops(watched.loops, instance)
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
  const look = async () => ({
    diagnostics: (await api.call<unknown>('GET', '/diagnostics')) as Diagnostics,
    status: (await api.call<unknown>('GET', '/status')) as Status,
  })
  const first = await look()
  const progress = createProgress(io)
  for (let left = seconds; left > 0; left -= 1) {
    progress.step(`watching ${first.diagnostics.loops.length} loops, ${left} s left`)
    await systemClock.sleep(1_000)
  }
  const last = await look().finally(progress.end)
  const before = new Map(first.diagnostics.loops.map(each => [each.name, each.steps]))
  const { release_needed: release, scheduler_active: active } = last.status
  return {
    loops: last.diagnostics.loops
      .filter(each => each.steps > 0 || each.running_ms !== null || each.failures > 0)
      .map(each => ({ ...each, stepped: each.steps - (before.get(each.name) ?? 0) })),
    open: { before: first.status.pending_messages, after: last.status.pending_messages },
    rests: release ?? (active ? null : 'the scheduler is suspended: its loops step and send nothing'),
  }
}

function asText(io: CliIo, { loops, open, rests }: Watched, findings: ReturnType<typeof judgeLoops>): string {
  const stalled = new Set(findings.map(each => /the (\w+) loop/.exec(each.text)?.[1]))
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
  const moved = `open messages: ${open.before} -> ${open.after}\n`
  const verdict =
    findings.length === 0
      ? `the loops make progress${rests === null ? '' : `; ${rests}`}\n`
      : findings.map(each => `${each.text}${each.todo === undefined ? '' : `\n  -> ${each.todo}`}\n`).join('')
  return `${text}\n${moved}${verdict}`
}
