/**
 * A real terminal for tests: `script` of util-linux gives the command a pseudo-terminal, keys are typed into it and all
 * that it writes is read. Only what was written after the last thing waited for is looked at.
 */
import { spawn, spawnSync } from 'node:child_process'

/** util-linux's; that of BSD and macOS takes other options. */
export const hasScript = /util-linux/.test(spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout ?? '')

export interface Terminal {
  /** Resolves with what was written up to and including the text; rejects when the command ends without it. */
  until(text: string | RegExp): Promise<string>
  type(keys: string): void
  /** All that was written, as it came. */
  raw(): string
  /** The same without the sequences that move the cursor and colour. */
  text(): string
  /** The exit code. */
  readonly ended: Promise<number>
}

export const ENTER = '\r'
export const CTRL_C = '\x03'
export const BACKSPACE = '\x7f'

export interface TerminalOptions {
  readonly env: Record<string, string>
  readonly columns?: number
  readonly withinMs?: number
}

/** Runs a line of shell in a terminal; it is killed when nothing comes for `withinMs` that a test waits for. */
export function openTerminal(line: string, { env, columns = 100, withinMs = 30_000 }: TerminalOptions): Terminal {
  const child = spawn('script', ['-qefc', `stty cols ${columns} rows 50; ${line}`, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'xterm-256color', SHELL: '/bin/sh', LANG: 'C.UTF-8', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let raw = ''
  let read = 0
  let look = () => {}
  child.stdout.on('data', chunk => {
    raw += String(chunk)
    look()
  })
  // A key for a command that has just ended is lost, as it would be for a person.
  child.stdin.on('error', () => {})
  const ended = new Promise<number>(resolve => child.once('close', code => resolve(code ?? 255)))

  return {
    until(wanted) {
      return new Promise((resolve, reject) => {
        const fail = (why: string) => {
          child.kill('SIGKILL')
          reject(new Error(`${why}: ${wanted}\n${plain(raw).slice(read)}`))
        }
        const timer = setTimeout(() => fail(`not within ${withinMs} ms`), withinMs)
        look = () => {
          const rest = plain(raw).slice(read)
          const at = typeof wanted === 'string' ? rest.indexOf(wanted) : rest.search(wanted)
          if (at === -1) return
          const length = typeof wanted === 'string' ? wanted.length : wanted.exec(rest)![0].length
          read += at + length
          look = () => {}
          clearTimeout(timer)
          resolve(rest.slice(0, at + length))
        }
        void ended.then(code => {
          look()
          if (timer.hasRef()) fail(`ended with ${code} without`)
        })
        look()
      })
    },
    type: keys => void child.stdin.write(keys),
    raw: () => raw,
    text: () => plain(raw),
    ended,
  }
}

/** Without escape sequences (ECMA-48), also one whose end has not come yet. */
function plain(text: string): string {
  return text
    .replace(/\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_=>]/g, '')
    .replace(/\x1b[^\x1b]{0,20}$/, '')
    .replaceAll('\r\n', '\n')
}
