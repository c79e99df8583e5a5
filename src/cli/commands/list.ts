/** `mail-proxy list`: the instances of this user. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { showDatabase } from '../database.js'
import { errorLine } from '../errors.js'
import { instanceFolder, instancesFolder } from '../instance.js'
import { show } from '../output/show.js'
import { table } from '../output/table.js'
import { paintState } from '../output/text.js'
import { lookAtProcess, type State } from '../running.js'
import { settingsOfInstance } from '../settings.js'

export interface ListedInstance {
  readonly name: string
  readonly state: State | 'broken'
  readonly pid: number | null
  readonly url: string | null
  readonly database: string | null
  readonly problem?: string
}

export function addList(program: Command, io: CliIo): void {
  const command = program
    .command('list')
    .description('the instances of this user')
    .action(async (options: { json?: boolean }) => {
      const instances = await listInstances(io)
      show(io, options, { instances }, () =>
        table(
          io,
          instances,
          [
            { title: 'INSTANCE', of: each => each.name },
            {
              title: 'STATE',
              of: each => each.state,
              paint: (text, each) => paintState(io, each.state).replace(each.state, text),
            },
            { title: 'PID', of: each => each.pid, align: 'right' },
            { title: 'URL', of: each => each.url },
            { title: 'DATABASE', of: each => each.problem ?? each.database },
          ],
          'there is no instance; `mail-proxy start <name>` makes one',
        ),
      )
    })
  withExamples(withJson(command), ['mail-proxy list', 'mail-proxy list --json'])
}

async function listInstances(io: CliIo): Promise<ListedInstance[]> {
  return Promise.all(instanceNames(io).map(name => lookAt(io, name)))
}

/** Folders that can be instances, by name. */
export function instanceNames(io: Pick<CliIo, 'env' | 'home'>): string[] {
  const isInstance = (name: string) => {
    try {
      instanceFolder(name, io.env, io.home)
      return true
    } catch {
      return false
    }
  }
  const folder = instancesFolder(io.env, io.home)
  try {
    return readdirSync(folder)
      .filter(name => isInstance(name) && isDirectory(join(folder, name)))
      .sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Also behind a symbolic link. */
function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

async function lookAt(io: CliIo, name: string): Promise<ListedInstance> {
  try {
    const { config } = settingsOfInstance(io, name, {})
    const { state, process } = await lookAtProcess(io, config.instance.dir)
    return { name, state, pid: process?.pid ?? null, url: process?.url || null, database: showDatabase(config) }
  } catch (error) {
    const problem = errorLine(error).slice('Error: '.length)
    return { name, state: 'broken', pid: null, url: null, database: null, problem }
  }
}
