/**
 * Pages whose commands are run: blocks ```sh one after another in one shell, each with the ```text that follows it as its
 * answer. `…` in an answer stands for any lines; figures, times, ids and keys are another run's own.
 */
import { spawn } from 'node:child_process'
import { mkdir, readFile, symlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { expect } from 'vitest'
import { freePort } from './free-port.js'
import { tempDir } from './process.js'
import { opened } from './scene.js'
import { type SmtpSink, startSink } from './smtp-sink.js'

export interface Step {
  /** Of its first line in the page, from 1. */
  readonly line: number
  readonly commands: string
  /** null: the page shows none. */
  readonly answer: string | null
}

export interface DocsShell {
  readonly smtp: SmtpSink
  /** The folder in which the commands run: to them a built clone. */
  readonly clone: string
  /** The text of a page with the addresses of this run. */
  adapted(text: string): string
  /** Runs commands that no page shows; answers what they write. */
  run(commands: string): Promise<string>
  /** Runs a step; fails when it ends with another code than 0 or answers otherwise than the page says. */
  follow(step: Step): Promise<void>
}

const NEW_KEY = /(?<=API key \(shown this once\): |KEY=)[\w-]{43}/
const DEADLINE_MS = 20_000

export async function stepsOf(path: string): Promise<Step[]> {
  const text = await readFile(path, 'utf8')
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```\n(?:\n```text\n([\s\S]*?)^```$)?/gm)].map(
    ({ 1: commands = '', 2: answer = null, index }) => ({
      line: text.slice(0, index).split('\n').length,
      commands,
      answer,
    }),
  )
}

/** A shell with a home of its own and a mail server that takes the place of the provider's; all of it ends with the test. */
export async function openDocsShell(): Promise<DocsShell> {
  const { dir: home } = await opened(tempDir(), each => each.remove())
  const users = { 'shop@gmail.com': 'the-app-password' }
  const smtp = await opened(startSink({ auth: ['PLAIN'], users }), each => each.close())
  const appPort = await freePort()
  const clone = await cloneIn(home)
  let serviceUrl = 'http://127.0.0.1:8000'
  let key = ''

  const adapted = (text: string) =>
    text
      .replace('npm ci && npm run build', 'test -f dist/main.js')
      .replaceAll('http://127.0.0.1:8000', serviceUrl)
      .replaceAll('http://127.0.0.1:3000', `http://127.0.0.1:${appPort}`)
      .replaceAll('listen(3000)', `listen(${appPort})`)
      .replace('--provider gmail', `--provider gmail --host 127.0.0.1 --port ${smtp.port} --tls auto`)
      .replace(NEW_KEY, key)
  const asWritten = (output: string) =>
    output
      .replaceAll(serviceUrl, 'http://127.0.0.1:8000')
      .replaceAll(`127.0.0.1:${smtp.port}`, 'smtp.gmail.com:587')
      .replaceAll(home, '/home/ada')

  const shell = await opened(Promise.resolve(startBash(clone, home)), each => each.close())
  const run = async (commands: string) => {
    const { output, code } = await shell.run(adapted(commands))
    serviceUrl = /shop serves on (http:\S+)/.exec(output)?.[1] ?? serviceUrl
    key = NEW_KEY.exec(output)?.[0] ?? key
    return { output: asWritten(output), code }
  }
  // Whatever fails in the test, the instance does not outlive it.
  await opened(Promise.resolve(), async () => void (await shell.run('mail-proxy stop shop --force')))
  return {
    smtp,
    clone,
    adapted,
    run: async commands => (await run(commands)).output,
    async follow({ line, commands, answer }) {
      // What was just submitted is on its way: to ask again is what a reader would do.
      const lastOnly = commands.trim().split('\n').at(-1) ?? ''
      const mayRepeat = / messages (show|list) /.test(`${lastOnly} `)
      const deadline = performance.now() + (mayRepeat ? DEADLINE_MS : 0)
      let { output, code } = await run(commands)
      const before = output
      while (answer !== null && !isAsWritten(output, answer) && performance.now() < deadline) {
        const again = await run(lastOnly)
        // What the commands before the last one said stays said.
        const said = commands.trim() === lastOnly ? '' : before.slice(0, before.indexOf(firstLineOf(again.output)))
        output = said + again.output
        code = again.code
      }
      if (answer !== null && !isAsWritten(output, answer)) expect(`line ${line}:\n${output}`).toBe(answer)
      expect([commands, code, output]).toEqual([commands, 0, output])
    },
  }
}

export function isAsWritten(given: string, written: string): boolean {
  const lines = alike(given)
  let at = 0
  let skip = false
  for (const each of alike(written)) {
    if (each === '…') {
      skip = true
      continue
    }
    const found = skip ? lines.indexOf(each, at) : at
    if (found < 0 || lines[found] !== each) return false
    at = found + 1
    skip = false
  }
  return skip || at === lines.length
}

/** Lines without what another run gives anew. At what moments a message was seen on its way is chance. */
function alike(text: string): string[] {
  return text
    .trim()
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'ID')
    .replace(NEW_KEY, 'KEY')
    .split('\n')
    .filter(line => !/^ +\d+ ms {2}(?!accepted|sent|reported)/.test(line))
    .map(line => line.replace(/\d+/g, '0').replace(/ +/g, ' ').trim())
}

function firstLineOf(text: string): string {
  return text.split('\n', 1)[0] ?? ''
}

/** A folder that looks like the built clone to whoever works in it. */
async function cloneIn(home: string): Promise<string> {
  const clone = join(home, 'genro-mail-proxy')
  await mkdir(join(clone, 'node_modules'), { recursive: true })
  await symlink(resolve('dist'), join(clone, 'dist'))
  await symlink(resolve('.'), join(clone, 'node_modules/genro-mail-proxy'))
  await symlink(resolve('node_modules/nodemailer'), join(clone, 'node_modules/nodemailer'))
  return clone
}

/** A bash that keeps its aliases and variables from one command to the next. */
function startBash(cwd: string, home: string) {
  const child = spawn('bash', ['--noprofile', '--norc'], {
    cwd,
    env: { PATH: process.env.PATH, HOME: home, GMP_MIN_FREE_MB: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = new Promise<void>(done => child.once('exit', () => done()))
  let output = ''
  let heard = () => {}
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    heard()
  })
  child.stdin.write(`exec 2>&1; shopt -s expand_aliases; alias mail-proxy="node $PWD/dist/main.js"\n`)
  let n = 0
  return {
    /** All that the commands wrote, and how the last of them ended. */
    run(commands: string): Promise<{ output: string; code: number }> {
      n += 1
      const end = new RegExp(`-- end of ${n}: (\\d+) --\n$`)
      output = ''
      child.stdin.write(`${commands.trim()}\necho "-- end of ${n}: $? --"\n`)
      return new Promise(done => {
        heard = () => {
          const found = end.exec(output)
          if (found !== null) done({ output: output.slice(0, found.index), code: Number(found[1]) })
        }
      })
    },
    async close() {
      child.stdin.end('exit\n')
      await exited
    },
  }
}
