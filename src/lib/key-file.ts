/**
 * The sealing key of an instance: the file `key` of its folder. A missing one is made only while the database holds no
 * secrets, which its caller knows. A key given in the configuration never comes here.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ConfigError } from './errors.js'
import { createPrivate, readIfThere } from './private-file.js'
import { KEY_BYTES } from './seal.js'

/** The 32 bytes, or null when the folder has no key. Throws ConfigError when the file holds something else. */
export function loadKey(dir: string): Buffer | null {
  const path = join(dir, 'key')
  const text = readIfThere(path)?.trim()
  if (text === undefined) return null
  const key = Buffer.from(text, 'base64')
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text) || key.length !== KEY_BYTES) {
    throw new ConfigError(`${path} does not hold a key (32 bytes in base64): restore it from a backup`)
  }
  return key
}

/** The folder's key, made when there is none; processes that start at once agree on one. */
export function loadOrMakeKey(dir: string): Buffer {
  const known = loadKey(dir)
  if (known !== null) return known
  createPrivate(join(dir, 'key'), `${randomBytes(KEY_BYTES).toString('base64')}\n`)
  const made = loadKey(dir)
  if (made === null) throw new ConfigError(`${join(dir, 'key')} vanished while it was being made`)
  return made
}
