/** `mail-proxy <instance> diagnose`: why mail does not go out, and what to do. Exit 1 when something is wrong. */
import type { Command } from 'commander'
import { type Place, withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { gather } from '../diagnose/gather.js'
import { type Finding, judge, type Level } from '../diagnose/judge.js'
import { ExitWith } from '../errors.js'
import { createProgress } from '../output/progress.js'
import { show } from '../output/show.js'
import { paint, printable } from '../output/text.js'
import { settingsOfKnownInstance } from '../settings.js'

interface DiagnoseOptions {
  readonly tenant?: string
  readonly account?: string
  readonly network: boolean
  readonly json?: boolean
}

export function addDiagnose(program: Command, { io, instance, tenant }: Place): void {
  const command = program
    .command('diagnose')
    .description('look for what keeps mail from going out, and say what to do; exit 1 when something is wrong')
    .option('--tenant <id>', 'only this tenant')
    .option('--account <id>', 'only this account')
    .option('--no-network', 'do not log in to accounts and do not call report endpoints')
    .action(async (options: DiagnoseOptions) => {
      const loaded = settingsOfKnownInstance(io, instance)
      const progress = createProgress(io)
      const scope = {
        tenant: tenant ?? options.tenant ?? null,
        account: options.account ?? null,
        network: options.network,
      }
      const findings = judge(await gather(io, instance, loaded, scope, progress.step).finally(progress.end))
      const worst = worstOf(findings)
      show(io, options, { instance, level: worst, findings }, () => asText(io, findings))
      if (worst === 'error') throw new ExitWith(1)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} diagnose`,
    `mail-proxy ${instance} diagnose --tenant acme --no-network`,
    `mail-proxy ${instance} diagnose --json`,
  ])
}

const MARKS: Readonly<Record<Level, string>> = { ok: 'ok', warning: 'warning', error: 'ERROR' }
const COLOURS = { ok: 'green', warning: 'yellow', error: 'red' } as const

function asText(io: CliIo, findings: readonly Finding[]): string {
  const lines = findings.map(({ area, level, text, todo }) => {
    const mark = paint(io, COLOURS[level], MARKS[level].padEnd(8))
    const doing = todo === undefined ? '' : `\n${' '.repeat(23)}-> ${printable(todo)}`
    return `${mark} ${area.padEnd(13)} ${printable(text)}${doing}\n`
  })
  const count = (level: Level) => findings.filter(each => each.level === level).length
  const [errors, warnings] = [count('error'), count('warning')]
  const sum = errors + warnings === 0 ? 'nothing is wrong' : `${errors} wrong, ${warnings} to look at`
  return `${lines.join('')}\n${sum}\n`
}

function worstOf(findings: readonly Finding[]): Level {
  if (findings.some(each => each.level === 'error')) return 'error'
  return findings.some(each => each.level === 'warning') ? 'warning' : 'ok'
}
