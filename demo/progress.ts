/** The figures while mail is on its way: one block redrawn in place on a terminal, a line a second in a pipe. */
import type { Screen } from './screen.js'

export interface Figures {
  /** Waiting or being sent, in the service. */
  readonly queued: number
  readonly sent: number
  /** Times a message was put off. */
  readonly deferred: number
  readonly errors: number
  /** Whose end the application knows. */
  readonly reported: number
  /** Those put off to a time, and how long it still is. */
  readonly waiting: readonly string[]
}

export interface Progress {
  show(figures: Figures): void
  /** Leaves the last figures on the screen. */
  end(): void
}

const INDENT = '   '
const RATE_OVER_MS = 1_000
const LINE_EVERY_MS = 1_000

export function createProgress(screen: Screen, total: number): Progress {
  const startedAt = performance.now()
  const samples: { at: number; sent: number }[] = []
  let drawn = 0
  let lineAt = 0
  let last: { figures: Figures; at: number } | null = null

  const write = (pace: string) => {
    if (last === null) return
    if (screen.isTerminal) {
      const lines = block(screen, last.figures, pace, total)
      screen.write(`${drawn > 0 ? `\x1b[${drawn}F` : ''}${lines.map(line => `\x1b[2K${line}\n`).join('')}\x1b[J`)
      drawn = lines.length
    } else screen.line(plainLine(last.figures, pace))
  }

  return {
    show(figures) {
      const at = performance.now()
      samples.push({ at, sent: figures.sent })
      while (samples.length > 2 && samples[1]!.at <= at - RATE_OVER_MS) samples.shift()
      const since = at - samples[0]!.at
      const rate = since > 0 ? ((figures.sent - samples[0]!.sent) / since) * 1000 : 0
      last = { figures, at }
      if (!screen.isTerminal && at < lineAt) return
      lineAt = at + LINE_EVERY_MS
      write(`${Math.round(rate)}/s`)
    },
    end() {
      if (last !== null) write(`in ${((last.at - startedAt) / 1000).toFixed(1)} s`)
    },
  }
}

function block(screen: Screen, figures: Figures, pace: string, total: number): string[] {
  const done = figures.sent + figures.errors
  const length = Math.max(10, Math.min(40, screen.width - 40))
  const full = total === 0 ? 0 : Math.min(length, Math.round((done / total) * length))
  const bar = screen.good('━'.repeat(full)) + screen.dim('─'.repeat(length - full))
  return [
    `${INDENT}${bar} ${done}/${total}  ${pace}`,
    `${INDENT}${counts(figures)}`,
    ...waitingLine(figures).map(line => `${INDENT}${screen.dim(shorten(line, screen.width - INDENT.length - 1))}`),
  ]
}

function plainLine(figures: Figures, pace: string): string {
  return `${INDENT}${counts(figures)} ${pace.padEnd(5)} ${waitingLine(figures).join('')}`.trimEnd()
}

function waitingLine({ waiting }: Figures): string[] {
  return waiting.length === 0 ? [] : [`waiting: ${waiting.join(', ')}`]
}

function counts({ queued, sent, deferred, errors, reported }: Figures): string {
  const number = (name: string, value: number, width = 3) => `${name} ${String(value).padEnd(width)}`
  return [
    number('queued', queued),
    number('sent', sent),
    number('deferred', deferred, 2),
    number('errors', errors, 2),
    number('reported', reported),
  ].join(' ')
}

function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`
}
