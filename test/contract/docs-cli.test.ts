/**
 * docs/cli.md is what the commands say of themselves, and the help of each is whole. `npm run docs:cli` writes the
 * chapter on the commands anew; what stands above it is written by hand.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { examplesOf, pathOf } from '../../src/cli/command.js'
import { cliReference } from '../support/cli-reference.js'
import { commandsUnder, documentedPrograms, isLeaf, parseLine } from '../support/cli-tree.js'

const BEGIN = '<!-- Written by npm run docs:cli from here on. -->\n'

it('docs/cli.md is up to date (npm run docs:cli)', async () => {
  const written = readFileSync('docs/cli.md', 'utf8')
  const byHand = written.slice(0, written.indexOf(BEGIN) + BEGIN.length)
  expect(byHand.endsWith(BEGIN)).toBe(true)
  await expect(`${byHand}\n${cliReference()}`).toMatchFileSnapshot('../../docs/cli.md')
})

/** What they answer is not for a program. */
const WITHOUT_JSON = ['mail-proxy serve', 'mail-proxy completion']

describe('the help', () => {
  const all = documentedPrograms().flatMap(commandsUnder)
  const leaves = all.filter(isLeaf).map(command => ({ path: pathOf(command), command }))

  it('reaches commands at every level', () => {
    expect(leaves.map(({ path }) => path)).toEqual(
      expect.arrayContaining([
        'mail-proxy start',
        'mail-proxy shop tenants add',
        'mail-proxy shop accounts list',
        'mail-proxy shop acme accounts test',
      ]),
    )
  })

  it('says of every command and option what it is for, and ends with examples', () => {
    for (const command of all) {
      let shown = ''
      command.configureOutput({ writeOut: text => (shown += text) }).outputHelp()
      expect(shown).toMatch(/\nExamples:\n {2}.*mail-proxy .*\n/)
      expect([pathOf(command), command.description()]).toEqual([pathOf(command), expect.stringMatching(/\w{3}/)])
      for (const { description, long } of command.options)
        expect([pathOf(command), long, description]).not.toContain('')
      for (const each of command.registeredArguments) expect([pathOf(command), each.description]).not.toContain('')
    }
  })

  it.each(leaves)('$path has an example, and --json unless nothing is answered', async ({ path, command }) => {
    const examples = examplesOf(command)
    expect(examples.length).toBeGreaterThan(0)
    for (const line of examples) expect([line, await parseLine(line)]).toEqual([line, command.name()])
    const hasJson = command.options.some(option => option.long === '--json')
    expect([path, hasJson]).toEqual([path, !WITHOUT_JSON.includes(path)])
  })

  it('has examples of whole programs that lead to commands', async () => {
    const lines = documentedPrograms().flatMap(examplesOf)
    expect(lines.length).toBeGreaterThan(5)
    for (const line of lines) {
      expect([line, await parseLine(line)]).toEqual([line, expect.stringMatching(/\w/)])
    }
  })

  it('knows when an example leads nowhere', async () => {
    await expect(parseLine('mail-proxy shop tenants ad acme')).rejects.toThrow()
    await expect(parseLine('mail-proxy shop tenants add acme --nmae x')).rejects.toThrow()
    await expect(parseLine('mail-proxy shop acme accounts add x --provider nobody')).rejects.toThrow()
    expect(await parseLine(`A=1 mail-proxy shop tenants add 'a b' --name "c # d" | cat # x`)).toBe('add')
  })
})
