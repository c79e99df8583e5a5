import { describe, expect, it } from 'vitest'
import { signingKey } from './signing-secret.js'

const secretOf = (bytes: number) => `whsec_${Buffer.alloc(bytes, 0xab).toString('base64')}`

describe('signingKey', () => {
  it.each([24, 25, 32, 64])('%d bytes are a key, padded or not', bytes => {
    expect(signingKey(secretOf(bytes))).toEqual(Buffer.alloc(bytes, 0xab))
    expect(signingKey(secretOf(bytes).replace(/=+$/, ''))).toEqual(Buffer.alloc(bytes, 0xab))
  })

  it.each([
    '',
    'a',
    '***',
    'whsec_',
    'whsec_***',
    secretOf(8),
    secretOf(23),
    secretOf(65),
    // Without the mark it may be anything, a password among it.
    secretOf(32).slice(6),
    `whsec_${'-'.repeat(32)}`,
    `${secretOf(24)}\n`,
    // One digit too many for whole bytes.
    `${secretOf(24)}A`,
  ])('%j is none', secret => {
    expect(signingKey(secret)).toBeNull()
  })
})
