/**
 * The sealing keys of an instance: the file `key` of its folder, one key a line, the newest last. A missing one is made
 * only while the database holds no secrets, which its caller knows. Keys given in the configuration never come here.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ConfigError } from './errors.js'
import { createPrivate, readIfThere, writePrivate } from './private-file.js'
import { KEY_BYTES, keyIdOf } from './seal.js'

/** Keys of 32 bytes, or null when the folder has none. Throws ConfigError when the file cannot be read as keys. */
export function loadKeys(dir: string): readonly Buffer[] | null {
  const path = join(dir, 'key')
  const text = readKeyFile(path)
  if (text === null) return null
  const keys = readKeys(text)
  if (keys === null) {
    throw new ConfigError(`${path} does not hold a key (32 bytes in base64, one a line): restore it from a backup`)
  }
  return keys
}

function readKeyFile(path: string): string | null {
  try {
    return readIfThere(path)
  } catch (error) {
    throw new ConfigError(`${path} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

/** What a key file of this content holds; null: something else than keys. */
export function readKeys(text: string): readonly Buffer[] | null {
  const lines = text.trim().split(/\s+/)
  if (!lines.every(line => /^[A-Za-z0-9+/]{43}=$/.test(line))) return null
  return lines.map(line => Buffer.from(line, 'base64'))
}

/** The folder's keys, one made when there is none; processes that start at once agree on it. */
export function loadOrMakeKeys(dir: string): readonly Buffer[] {
  const known = loadKeys(dir)
  if (known !== null) return known
  createPrivate(join(dir, 'key'), textOf([newKey()]))
  const made = loadKeys(dir)
  if (made === null) throw new ConfigError(`${join(dir, 'key')} vanished while it was being made`)
  return made
}

/** Puts a new key behind those there are. One process at a time may change the file: the caller sees to it. */
export function addKey(dir: string): void {
  writePrivate(join(dir, 'key'), textOf([...(loadKeys(dir) ?? []), newKey()]))
}

/** Leaves this key alone in the file. The others go into files of their own first: old backups need them. */
export function setAsideOtherKeys(dir: string, keyId: string): readonly string[] {
  const keys = loadKeys(dir) ?? []
  const stays = keys.filter(key => keyIdOf(key) === keyId)
  if (stays.length !== 1) throw new ConfigError(`${join(dir, 'key')} does not hold the key ${keyId}`)
  const aside = keys
    .filter(key => keyIdOf(key) !== keyId)
    .map(key => {
      const path = join(dir, `key.retired-${keyIdOf(key)}`)
      writePrivate(path, textOf([key]))
      return path
    })
  if (aside.length > 0) writePrivate(join(dir, 'key'), textOf(stays))
  return aside
}

function newKey(): Buffer {
  return randomBytes(KEY_BYTES)
}

function textOf(keys: readonly Buffer[]): string {
  return keys.map(key => `${key.toString('base64')}\n`).join('')
}
