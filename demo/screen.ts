/** How the demo writes: colour on a terminal, nothing but text in a pipe. */
import type { WriteStream } from 'node:tty'

export interface Screen {
  readonly isTerminal: boolean
  readonly width: number
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  write(text: string): void
  line(text?: string): void
  /** A numbered step: what happens, and below it why it matters. */
  step(title: string, what: string, why: string): void
}

export function createScreen(out: WriteStream, env: NodeJS.ProcessEnv): Screen {
  const isTerminal = out.isTTY === true && env.TERM !== 'dumb'
  const isColoured = isTerminal && !env.NO_COLOR
  const paint = (code: number) => (text: string) => (isColoured ? `\x1b[${code}m${text}\x1b[0m` : text)
  const [bold, dim, good, bad] = [paint(1), paint(2), paint(32), paint(31)] as const
  const line = (text = '') => void out.write(`${text}\n`)
  let steps = 0
  return {
    isTerminal,
    get width() {
      return out.columns ?? 80
    },
    bold,
    dim,
    good,
    bad,
    line,
    write: text => void out.write(text),
    step(title, what, why) {
      steps += 1
      line(`${bold(`${steps}  ${title.padEnd(11)}`)}  ${what}`)
      line(`   ${dim(why)}`)
    },
  }
}
