/** The configuration of one instance as a command sees it. */
import { readFileSync } from 'node:fs'
import type { SettingKey } from '../config-schema.js'
import { followLinks } from '../lib/follow-links.js'
import { type LoadedConfig, loadConfig } from '../load-config.js'
import type { CliIo } from './context.js'
import { CliError } from './errors.js'
import { DEFAULT_INSTANCE, folderExists, instanceFolder, readConfigIni } from './instance.js'

export type Flags = Partial<Record<SettingKey, string>>

/** `serve`: flags and environment of the instance `default`; its folder's config.ini is not read. */
export function settingsFromEnvironment(io: CliIo, flags: Flags): LoadedConfig {
  const instanceDir = instanceFolder(DEFAULT_INSTANCE, io.env, io.home)
  return loadConfig({ flags, env: io.env, instanceDir, folderFollowsDatabase: true, readFile, followLinks })
}

/** A named instance: flags, environment and the folder's config.ini; `otherwise`: the text where it has none. */
export function settingsOfInstance(io: CliIo, name: string, flags: Flags, otherwise?: string): LoadedConfig {
  const instanceDir = instanceFolder(name, io.env, io.home)
  return loadConfig({
    flags,
    env: io.env,
    iniText: readConfigIni(instanceDir) ?? otherwise,
    instanceDir,
    // What `serve` runs is reached as `default`, so both must agree where it lies.
    folderFollowsDatabase: name === DEFAULT_INSTANCE,
    readFile,
    followLinks,
  })
}

/** The same for a command on an instance that must already be there. */
export function settingsOfKnownInstance(io: CliIo, name: string): LoadedConfig {
  const loaded = settingsOfInstance(io, name, {})
  if (!folderExists(loaded.config.instance.dir ?? '')) {
    throw new CliError(`there is no instance ${name}; \`mail-proxy start ${name}\` makes one`)
  }
  return loaded
}

function readFile(path: string): string {
  return readFileSync(path, 'utf8')
}
