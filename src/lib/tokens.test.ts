import { expect, it } from 'vitest'
import { equalHashes, hashToken, newToken } from './tokens.js'

it('makes tokens of 43 URL-safe characters, each another', () => {
  const tokens = Array.from({ length: 1_000 }, newToken)
  expect(new Set(tokens).size).toBe(1_000)
  for (const token of tokens) expect(token).toMatch(/^\w[\w-]{42}$/)
})

it('hashes as SHA-256 in hexadecimal', () => {
  expect(hashToken('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
})

it('compares hashes of any length', () => {
  expect(equalHashes(hashToken('a'), hashToken('a'))).toBe(true)
  expect(equalHashes(hashToken('a'), hashToken('b'))).toBe(false)
  expect(equalHashes(hashToken('a'), '')).toBe(false)
})
