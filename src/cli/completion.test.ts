import { Command, Option } from 'commander'
import { expect, it } from 'vitest'
import { complete, type Ids } from './completion.js'

/** Names what was asked for. */
const ids: Ids = {
  instances: () => ['shop', 'shed'],
  tenants: async instance => [`${instance}-acme`],
  accounts: async (instance, tenant) => [`${instance}/${tenant ?? 'all'}/main`],
}

function program(): Command {
  const root = new Command('tool').helpCommand(false)
  root
    .command('send')
    .alias('dispatch')
    .argument('<account>')
    .argument('[files...]')
    .option('-a, --account <id>')
    .option('--tenant <id>')
    .option('-n, --count <n>')
    .option('--tag <text...>')
    .addOption(new Option('--kind <kind>').choices(['plain', 'html']))
    .addOption(new Option('--inner').hideHelp())
  root.command('inner', { hidden: true })
  return root
}

async function following(...words: string[]): Promise<readonly string[] | string> {
  const programs = { root: () => new Command('none').helpCommand(false), ofInstance: program, ofTenant: program }
  const found = await complete(['shop', 'acme', ...words], programs, ids)
  return typeof found === 'string' ? found : found.map(each => each.value)
}

it('goes down the tree: commands and their aliases, arguments by their place, options that are left', async () => {
  expect(await following('')).toEqual(['send'])
  expect(await following('send', '')).toEqual(['shop/acme/main'])
  expect(await following('dispatch', '')).toEqual(['shop/acme/main'])
  expect(await following('send', 'main', '')).toBe('files')
  expect(await following('send', 'main', 'one', 'two')).toBe('files')
  expect(await following('send', '-n', '5', '--k')).toEqual(['--kind'])
  expect(await following('send', '--kind', 'html', '--tag', 'x', '--')).toEqual([
    '--account',
    '--tenant',
    '--count',
    '--tag',
    '--help',
  ])
  expect(await following('send', '--', '--')).toEqual([])
})

it('completes the value of an option by its choices, its placeholder or its name', async () => {
  expect(await following('send', '--kind', 'h')).toEqual(['html'])
  expect(await following('send', '--kind=h')).toEqual(['--kind=html'])
  // As bash takes it apart.
  expect(await following('send', '--kind', '=', 'h')).toEqual(['--kind=html'])
  expect(await following('send', '--kind', '=')).toEqual(['--kind=plain', '--kind=html'])
  expect(await following('send', '--count', '')).toEqual([])
  expect(await following('send', '--account', '')).toEqual(['shop/acme/main'])
  expect(await following('send', '-a', '')).toEqual(['shop/acme/main'])
  expect(await following('send', '--tenant', 'globex', '--account', '')).toEqual(['shop/globex/main'])
  expect(await following('send', '--tenant', '')).toEqual(['shop-acme'])
})
