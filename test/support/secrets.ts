/**
 * The secrets of the tests, made so that they can be found again: in what the product wrote during a run (output.ts), which
 * is searched when the run has ended (closing-line.ts).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** In every secret that is made here. Letters only, so that it is the same in base64 and in a URL. */
const MARK = 'NeverInALog'

export function testSecret(name: string): string {
  return `${MARK}-${name}`
}

/** For GMP_ENCRYPTION_KEY: 32 bytes in base64. */
export const TEST_KEY = `${MARK.repeat(3)}AAAAAAAAAA=`

/** Each text of the product with a secret in it, and the test in which it was written. */
export function findSecrets(dir: string): { readonly test: string; readonly text: string; readonly secret: string }[] {
  const filesOf = (kind: string) => readdirSync(dir).filter(name => name.startsWith(kind))
  const read = <T>(file: string): T[] => {
    const lines = readFileSync(join(dir, file), 'utf8').split('\n')
    return lines.filter(line => line !== '').map(line => JSON.parse(line) as T)
  }
  const known = new Set([MARK, ...filesOf('secrets').flatMap(file => read<string>(file))])
  const pattern = new RegExp([...known].flatMap(formsOf).map(literal).join('|'))
  return filesOf('output').flatMap(file =>
    read<{ test: string; text: string }>(file).flatMap(({ test, text }) => {
      const secret = pattern.exec(text)?.[0]
      return secret === undefined ? [] : [{ test, text, secret }]
    }),
  )
}

/** As it is, within a URL, and within base64, where it may begin at any third of a group. */
function formsOf(secret: string): string[] {
  const base64 = [0, 1, 2].map(at => {
    const encoded = Buffer.from(`${'\0'.repeat(at)}${secret}`)
      .toString('base64')
      .replace(/=+$/, '')
    return encoded.slice(at === 0 ? 0 : at + 1, -1)
  })
  return [secret, encodeURIComponent(secret), ...base64]
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}
