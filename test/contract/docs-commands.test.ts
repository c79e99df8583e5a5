/**
 * Every `mail-proxy` command, npm script, GMP_* variable and curl address in the documents is one that exists. What the
 * commands answer is run elsewhere: docs-quick-start, docs-guides, docs-api and others.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { OTHER_VARIABLES, RETIRED_VARIABLES, SETTING_KEYS, SETTINGS, type Setting } from '../../src/config-schema.js'
import { parseLine } from '../support/cli-tree.js'

/** From here on docs/cli.md is written from the commands themselves. */
const GENERATED = '<!-- Written by npm run docs:cli from here on. -->'
/** Words before a command: variables, npx, the program of a container. */
const COMMAND = /^(?:\w+=\S* +)*(?:npx )?mail-proxy (?=[a-z<-])(.+)$/
const IN_CLONE = /\bdist\/main\.js (.+?)'?$/

interface Found {
  readonly line: number
  readonly words: string
  /** In running text a command may be named without its arguments. */
  readonly isMention: boolean
}

const documents = [
  'README.md',
  'CHANGELOG.md',
  ...filesUnder('docs', /\.md$/),
  ...filesUnder('examples', /README\.md$/),
  ...filesUnder('deploy', /README\.md$/),
].map(path => ({ path, text: readFileSync(path, 'utf8').split(GENERATED, 1)[0]! }))

const withCommands = documents
  .map(({ path, text }) => ({ path, commands: commandsIn(text) }))
  .filter(({ commands }) => commands.length > 0)

describe('every mail-proxy command in', () => {
  it.each(withCommands)('$path can be given', async ({ commands }) => {
    for (const { line, words, isMention } of commands) {
      const answer = await parseLine(`mail-proxy ${words}`).catch((error: { code?: string; message: string }) =>
        isMention && error.code === 'commander.missingArgument' ? 'named' : `${error.code} ${error.message}`,
      )
      expect(`line ${line}: mail-proxy ${words}: ${answer}`).toMatch(/: [\w-]+$/)
    }
  })
})

describe('the reading of commands', () => {
  it('finds them in blocks, behind variables, in substitutions and in running text', () => {
    const text = [
      'Say `mail-proxy start` or `mail-proxy <instance> <tenant> info`, not `mail-proxy`.',
      '```sh',
      'A=1 npx mail-proxy shop token | cat',
      'KEY=$(mail-proxy shop tenants key acme)',
      'docker exec mail-proxy node /app/dist/main.js default info',
      "su -c 'node /opt/dist/main.js default token --regenerate'",
      'helm install mail-proxy deploy/helm',
      '```',
      '```text',
      'mail-proxy shop backup',
      'Error: mail-proxy has no such command',
      '```',
    ].join('\n')
    expect(commandsIn(text).map(({ words }) => words)).toEqual([
      'shop token | cat',
      'shop tenants key acme)',
      'default info',
      'default token --regenerate',
      'shop backup',
      'start',
      'shop acme info',
    ])
  })

  it('is wide enough', () => {
    expect(withCommands.flatMap(({ commands }) => commands).length).toBeGreaterThan(80)
  })
})

it('every npm script in the documents exists', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
  const named = documents.flatMap(({ text }) => [...text.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(each => each[1]!))
  expect(named.length).toBeGreaterThan(10)
  expect(named.filter(name => !Object.hasOwn(scripts, name))).toEqual([])
})

it('every GMP_ variable in the documents, the templates and the files of deploy/ exists', () => {
  const settings: Setting[] = SETTING_KEYS.map(key => SETTINGS[key])
  const known = new Set([
    ...settings.flatMap(({ env }) => env),
    ...settings.filter(({ secret }) => secret).flatMap(({ env }) => env.map(name => `${name}_FILE`)),
    ...Object.keys(OTHER_VARIABLES),
    ...Object.keys(RETIRED_VARIABLES),
    // Of the long suites.
    'GMP_KILLS',
    'GMP_TEST_SEED',
  ])
  const others = ['Dockerfile', 'config.ini.example', ...filesUnder('deploy', /./)]
  const all = [...documents, ...others.map(path => ({ path, text: readFileSync(path, 'utf8') }))]
  let found = 0
  const unknown = all.flatMap(({ path, text }) =>
    [...text.matchAll(/\bGMP_[A-Z0-9_]*\*?/g)]
      .map(([name]) => name)
      .filter(name => {
        found += 1
        // `GMP_BOUNCE_*` means all that begin so, `GMP_…` all.
        const isKnown = name.endsWith('*')
          ? [...known].some(each => each.startsWith(name.slice(0, -1)))
          : known.has(name)
        return !isKnown && name !== 'GMP_' && !WRONG_ON_PURPOSE.has(name)
      })
      .map(name => `${path}: ${name}`),
  )
  expect(found).toBeGreaterThan(300)
  expect(unknown).toEqual([])
})

/** A misspelt one, in the example of what is said then. */
const WRONG_ON_PURPOSE = new Set(['GMP_SYNC_INTERVALL'])

it('every address of the service that curl is given is a route of docs/api.md', () => {
  const routes = [...readFileSync('docs/api.md', 'utf8').matchAll(/^#### [A-Z]+ (\/\S+)$/gm)].map(
    ([, path = '']) => new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}/?$`),
  )
  const asked = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/^\s*curl .*?(?:127\.0\.0\.1:8000|\$API)(\/[^\s"'?]*)/gm)].map(match => `${path} ${match[1]}`),
  )
  expect(asked.length).toBeGreaterThan(5)
  expect(asked.filter(each => !routes.some(route => route.test(each.split(' ')[1]!)))).toEqual([])
})

function filesUnder(folder: string, name: RegExp): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && name.test(entry.name) && !entry.parentPath.includes('node_modules'))
    .map(entry => `${entry.parentPath}/${entry.name}`)
    .sort()
}

function commandsIn(text: string): Found[] {
  const found: Found[] = []
  const add = (index: number, words: string, isMention: boolean) =>
    found.push({
      line: text.slice(0, index).split('\n').length,
      words: words.trim().replaceAll('<instance>', 'shop').replaceAll('<tenant>', 'acme'),
      isMention,
    })
  const prose = text.replace(/^```\w*[^\n]*\n([\s\S]*?)^```$/gm, (block, inside: string, index: number) => {
    let at = index + block.indexOf(inside)
    for (const line of inside.split('\n')) {
      // `$(…)`, `a && b`: each begins a command.
      for (const part of line.split(/\$\(|&&|;/)) {
        const words = (COMMAND.exec(part.trim()) ?? IN_CLONE.exec(part.trim()))?.[1]
        // `<command>`: how commands are built.
        if (words !== undefined && !words.includes('<command>')) add(at, words, false)
      }
      at += line.length + 1
    }
    // As long as before, so that lines are counted right.
    return block.replace(/[^\n]/g, ' ')
  })
  for (const { 1: code = '', index } of prose.matchAll(/`([^`\n]+)`/g)) {
    const words = (COMMAND.exec(code) ?? IN_CLONE.exec(code))?.[1]
    if (words !== undefined) add(index, words, true)
  }
  return found
}
