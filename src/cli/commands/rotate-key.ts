/** `mail-proxy <instance> rotate-key`: another key for the stored secrets, while the service runs. Repeatable at any point. */
import { join } from 'node:path'
import type { Command } from 'commander'
import { DatabaseTaken } from '../../db/db.js'
import { lockAlone } from '../../db/sqlite.js'
import { addKey, loadKeys, setAsideOtherKeys } from '../../lib/key-file.js'
import { keyIdOf } from '../../lib/seal.js'
import { type Api, withApi } from '../api.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { CliError, UsageError } from '../errors.js'
import { createProgress } from '../output/progress.js'
import { show } from '../output/show.js'
import { counted } from '../output/text.js'

interface RotateKeyOptions {
  readonly status?: boolean
  readonly retire?: boolean
  readonly json?: boolean
}

/** As the API tells it; keys are named by their ids. */
interface KeyState {
  readonly sealing_key: string
  readonly newest_key: string
  readonly known_keys: readonly string[]
  readonly rotation: {
    readonly from_key: string
    readonly to_key: string
    readonly started_at: string
    readonly finished_at: string | null
    readonly resealed: number
    readonly unreadable: number
    readonly at: string | null
  } | null
  readonly processes: readonly { readonly process: string; readonly keys: readonly string[] }[]
}

export function addRotateKey(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('rotate-key')
    .description('replace the key that seals stored secrets, while the service runs; repeat it after a failure')
    .option('--status', 'only tell which key seals, and which process has which')
    .option('--retire', 'take the old key out of the key file, once nothing is sealed with it')
    .action(async (options: RotateKeyOptions) => {
      if (options.status && options.retire) throw new UsageError('--status and --retire do not go together')
      await withApi(io, instance, async api => {
        const { ok: _, ...state } = await api.call<KeyState & { ok: true }>('GET', PATH)
        if (options.status) show(io, options, state, () => statusText(state))
        else if (options.retire) {
          const retired = await retire(api, state, instance)
          show(io, options, retired, () => retiredText(retired))
        } else {
          const rotated = await rotate(io, api, state)
          show(io, options, rotated, () => rotatedText(rotated, instance))
        }
      })
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} rotate-key`,
    `mail-proxy ${instance} rotate-key --status`,
    `mail-proxy ${instance} rotate-key --retire`,
  ])
}

const PATH = '/instance/sealing-key'

interface Rotated extends KeyState {
  /** False: it had come to its end before this command. */
  readonly changed: boolean
  /** The key file that has the new key; null: the configuration gives the keys. */
  readonly key_file: string | null
}

async function rotate(io: CliIo, api: Api, before: KeyState): Promise<Rotated> {
  const dir = keyFolder(api)
  const key_file = dir === null ? null : join(dir, 'key')
  const keys = dir === null ? api.config.encryptionKeys! : await makeKey(dir, before)
  let state = await api.call<KeyState>('GET', PATH)
  const newest = keyIdOf(keys.at(-1)!)
  if (!state.known_keys.includes(newest)) throw notTaken(newest, key_file)
  const progress = createProgress(io)
  try {
    // Once in any case: where there is nothing to change to, the refusal says what to do.
    do {
      state = await api.call<KeyState>('POST', `${PATH}/rotate`)
      const { resealed = 0, at = null } = state.rotation ?? {}
      progress.step(`${at ?? 'done'}: ${resealed} values sealed anew`)
    } while (state.newest_key !== state.sealing_key || state.rotation?.finished_at === null)
  } finally {
    progress.end()
  }
  const { sealing_key, newest_key, known_keys, rotation, processes } = state
  const last = before.rotation
  const changed = last === null || last.finished_at === null || last.to_key !== sealing_key
  return { changed, sealing_key, newest_key, known_keys, rotation, processes, key_file }
}

function notTaken(key: string, file: string | null): CliError {
  return new CliError(
    file === null
      ? `the service does not have the key ${key} that stands last in GMP_ENCRYPTION_KEY here, and nothing was changed: give it the same GMP_ENCRYPTION_KEY and restart it`
      : `the service does not have the key ${key} that stands last in ${file}, and nothing was changed: it reads another key file (copy this one there), or the configuration gives it its keys (run this with the same GMP_ENCRYPTION_KEY)`,
  )
}

/**
 * Adds a new one, unless the last change is under way, or its old key is there still: then this is a repetition. Answers
 * the keys of the file.
 */
async function makeKey(dir: string, { sealing_key, rotation }: KeyState): Promise<readonly Buffer[]> {
  return changingKeyFile(dir, () => {
    const keys = loadKeys(dir) ?? []
    if (!keys.map(keyIdOf).includes(sealing_key)) {
      throw new CliError(
        `${join(dir, 'key')} does not hold the key ${sealing_key}, which seals: run this where the service has its key file or, if the configuration gives the keys to the service, with the same GMP_ENCRYPTION_KEY`,
      )
    }
    if (keys.length > 1 || rotation?.finished_at === null) return keys
    addKey(dir)
    return loadKeys(dir)!
  })
}

interface Retired {
  readonly sealing_key: string
  readonly key_file: string
  /** Files with the keys that were taken out. */
  readonly set_aside: readonly string[]
}

async function retire(api: Api, { sealing_key, newest_key, rotation }: KeyState, instance: string): Promise<Retired> {
  const dir = keyFolder(api)
  if (dir === null) {
    throw new CliError(
      `the configuration gives the keys: leave only ${sealing_key} in GMP_ENCRYPTION_KEY, once \`mail-proxy ${instance} rotate-key --status\` says that the change is finished`,
    )
  }
  if (newest_key !== sealing_key || rotation?.finished_at === null) {
    throw new CliError(`the change of the key is not finished: run \`mail-proxy ${instance} rotate-key\``)
  }
  const set_aside = await changingKeyFile(dir, () => setAsideOtherKeys(dir, sealing_key))
  return { sealing_key, key_file: join(dir, 'key'), set_aside }
}

/** Two commands that add a key at the same time must not lose one another's: a lost key would be one that seals. */
async function changingKeyFile<T>(dir: string, change: () => T): Promise<T> {
  const lock = await lockAlone(join(dir, 'key')).catch(error => {
    if (!(error instanceof DatabaseTaken)) throw error
    throw new CliError('another command is changing the key file: try again in a moment', { cause: error })
  })
  try {
    return change()
  } finally {
    lock.release()
  }
}

/** Null: the configuration gives the keys. */
function keyFolder({ config }: Api): string | null {
  if (config.encryptionKeys !== null) return null
  if (config.instance.dir === null) throw new CliError('the instance has no folder')
  return config.instance.dir
}

function rotatedText({ changed, sealing_key, rotation, key_file }: Rotated, instance: string): string {
  const { from_key, resealed, unreadable, finished_at } = rotation!
  const lines = [
    changed
      ? `Key ${sealing_key} seals now: ${counted(resealed, 'value')} sealed anew with it`
      : `Nothing was changed: ${sealing_key} has sealed since ${finished_at}`,
  ]
  if (unreadable > 0) {
    lines.push(
      `  ${counted(unreadable, 'value')} could be opened with no key and stayed: those secrets must be set again`,
    )
  }
  const first = changed ? '' : ', before another change too'
  lines.push(`Nothing in this database needs the key ${from_key} any more. Take it out${first}:`)
  lines.push(
    key_file === null
      ? `  leave ${sealing_key} alone in GMP_ENCRYPTION_KEY of every process; each needs it at its next start`
      : `  mail-proxy ${instance} rotate-key --retire`,
  )
  lines.push('Backups from before need it: keep it where they are, unless they have it within')
  return `${lines.join('\n')}\n`
}

function retiredText({ sealing_key, key_file, set_aside }: Retired): string {
  if (set_aside.length === 0) return `${key_file} holds the key ${sealing_key} and no other\n`
  const lines = set_aside.map(
    path => `  the old one is in ${path}: put it where the backups from before are, or delete it`,
  )
  return `${[`${key_file} holds the key ${sealing_key} alone`, ...lines].join('\n')}\n`
}

function statusText({ sealing_key, newest_key, known_keys, rotation, processes }: KeyState): string {
  const lines = [`seals with   ${sealing_key}`, `keys         ${known_keys.join(', ')}`]
  if (rotation !== null) {
    const { from_key, to_key, finished_at, started_at, resealed, unreadable, at } = rotation
    const how =
      finished_at === null ? `under way since ${started_at}, at ${at ?? 'its end'}` : `finished ${finished_at}`
    lines.push(`last change  ${from_key} to ${to_key}, ${how}`)
    lines.push(`             ${counted(resealed, 'value')} sealed anew, ${unreadable} could not be opened`)
  }
  for (const { process, keys } of processes) {
    lines.push(
      `process      ${process}: ${keys.join(', ')}${keys.includes(newest_key) ? '' : ` (not yet ${newest_key})`}`,
    )
  }
  return `${lines.join('\n')}\n`
}
