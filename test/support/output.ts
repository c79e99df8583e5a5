/**
 * No secret in any log: what the product writes in the tests is kept, at every level, with the secrets that the tests gave
 * it, and searched when the run has ended (closing-line.ts). A helper that starts the product passes its output to
 * `noteOutput` and what it gives it to `learnSecrets`; constants of the tests come from secrets.ts.
 */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { expect } from 'vitest'

/** Shorter ones are words like any other. */
const SHORTEST = 7
const SECRET_NAME =
  /password|passphrase|token|secret|api_?key|encryption_?key|access_?key|account_?key|private_?key|^pass$|^sas$/i
const NO_SECRET_NAME = /url|_id$|file$|regenerate/i

/** Keeps what the product wrote, wherever it is read again. */
export function noteOutput(text: string): void {
  // Outside of Vitest, as in the soak, there is no test to name.
  const { testPath = '?', currentTestName = '?' } = process.env.VITEST === undefined ? {} : expect.getState()
  append('output', { test: `${testPath} > ${currentTestName}`, text })
}

/** The same for what a process writes, by whole lines: a secret may come in two pieces. */
export function noteStream(stream: Readable): void {
  let begun = ''
  stream.on('data', chunk => {
    const lines = `${begun}${chunk}`.split('\n')
    begun = lines.pop()!
    if (lines.length > 0) noteOutput(lines.join('\n'))
  })
  stream.on('end', () => noteOutput(begun))
}

/** The same for a command line in this process. What is there to show a token or a key may do so on stdout. */
export function noteAnswer(
  argv: readonly string[],
  { out, err }: { readonly out: string; readonly err: string },
): void {
  const isAsked =
    argv.includes('token') || (argv.includes('tenants') && /^(key|add)$/.test(argv[argv.indexOf('tenants') + 1] ?? ''))
  noteOutput(isAsked ? err : `${out}${err}`)
}

/** Takes the values of secret fields, at any depth, of what goes into the product or comes out of it by right. */
export function learnSecrets(given: unknown): void {
  const found = new Set<string>()
  collect(given, false, found)
  for (const secret of found) append('secrets', secret)
}

function collect(value: unknown, isSecret: boolean, found: Set<string>): void {
  if (typeof value === 'string') {
    if (isSecret && value.length >= SHORTEST && !/\s/.test(value)) found.add(value)
    for (const [, password] of value.matchAll(/^\w+:\/\/[^:/@]*:([^@/]{7,})@/g))
      found.add(decodeURIComponent(password!))
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, each] of Object.entries(value)) {
      const named = SECRET_NAME.test(name) && !NO_SECRET_NAME.test(name)
      collect(each, named || (isSecret && Array.isArray(value)), found)
    }
  }
}

function append(kind: 'output' | 'secrets', entry: unknown): void {
  const dir = process.env.GMP_TEST_OUTPUT
  if (dir === undefined)
    throw new Error('GMP_TEST_OUTPUT is not set: run through vitest, whose set-up makes the folder')
  appendFileSync(join(dir, `${kind}-${process.pid}`), `${JSON.stringify(entry)}\n`)
}
