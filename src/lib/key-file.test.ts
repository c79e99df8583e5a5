import {
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ConfigError } from './errors.js'
import { addKey, loadKeys, loadOrMakeKeys, setAsideOtherKeys } from './key-file.js'
import { createPrivate, readIfThere, writePrivate } from './private-file.js'
import { keyIdOf } from './seal.js'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'gmp-key-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

it('makes the key once, for the owner alone', () => {
  const folder = join(dir, 'new')
  expect(loadKeys(folder)).toBeNull()
  const key = loadOrMakeKeys(folder)
  expect(key.map(each => each.length)).toEqual([32])
  expect(loadOrMakeKeys(folder)).toEqual(key)
  expect(loadKeys(folder)).toEqual(key)
  expect(statSync(join(folder, 'key')).mode & 0o777).toBe(0o600)
  expect(statSync(folder).mode & 0o777).toBe(0o700)
})

it('takes a new key behind the others, and sets the others aside', () => {
  const [first] = loadOrMakeKeys(dir)
  addKey(dir)
  const [again, second] = loadKeys(dir)!
  expect(again).toEqual(first)
  expect(second).not.toEqual(first)
  expect(() => setAsideOtherKeys(dir, '00000000')).toThrow(ConfigError)
  const [aside] = setAsideOtherKeys(dir, keyIdOf(second!))
  expect(loadKeys(dir)).toEqual([second])
  expect(readIfThere(aside!)).toBe(`${first!.toString('base64')}\n`)
  expect(statSync(aside!).mode & 0o777).toBe(0o600)
  expect(setAsideOtherKeys(dir, keyIdOf(second!))).toEqual([])
})

it('says of a key file that cannot be read where it is', () => {
  mkdirSync(join(dir, 'key'))
  expect(() => loadKeys(dir)).toThrow(ConfigError)
  expect(() => loadKeys(dir)).toThrow(`${join(dir, 'key')} cannot be read: EISDIR`)
})

it('refuses a damaged key and does not replace it', () => {
  writeFileSync(join(dir, 'key'), 'c2hvcnQ=\n')
  expect(() => loadOrMakeKeys(dir)).toThrow(ConfigError)
  expect(readIfThere(join(dir, 'key'))).toBe('c2hvcnQ=\n')
})

it('writes whole files, leaves no drafts and keeps the first', () => {
  const path = join(dir, 'token')
  expect(createPrivate(path, 'one')).toBe(true)
  expect(createPrivate(path, 'two')).toBe(false)
  expect(readIfThere(path)).toBe('one')
  writePrivate(path, 'three')
  expect(readIfThere(path)).toBe('three')
  expect(readdirSync(dir)).toEqual(['token'])
})

// Only root may give a file away: a command that it runs must not take one from the service.
it.runIf(process.geteuid?.() === 0)(
  'written by root it belongs to whom the old one did, else to the owner of the folder',
  () => {
    const owners = (...names: string[]) =>
      names.map(name => [statSync(join(dir, name)).uid, statSync(join(dir, name)).gid])
    chownSync(dir, 1234, 1235)
    writePrivate(join(dir, 'key'), 'one')
    createPrivate(join(dir, 'token'), 'one')
    expect(owners('key', 'token')).toEqual([
      [1234, 1235],
      [1234, 1235],
    ])
    chownSync(join(dir, 'key'), 1236, 1237)
    writePrivate(join(dir, 'key'), 'two')
    expect(owners('key')).toEqual([[1236, 1237]])
    expect(statSync(join(dir, 'key')).mode & 0o777).toBe(0o600)
    // Whoever planted it gets nothing.
    symlinkSync('key', join(dir, 'planted'))
    lchownSync(join(dir, 'planted'), 1238, 1239)
    writePrivate(join(dir, 'planted'), 'three')
    expect(owners('planted')).toEqual([[1234, 1235]])
  },
)

it('replaces a planted symlink and does not write through it', () => {
  const victim = join(dir, 'victim')
  writeFileSync(victim, 'mine')
  symlinkSync(victim, join(dir, 'token'))
  writePrivate(join(dir, 'token'), 'secret')
  expect(readIfThere(victim)).toBe('mine')
  expect(readIfThere(join(dir, 'token'))).toBe('secret')
})
