import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createSealer, isSealed, keyCheckValue, SealError } from './seal.js'

const key = randomBytes(32)
const sealer = createSealer(key)

it('opens what it sealed, under the same context', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (plain, context) => {
      const sealed = sealer.seal(plain, context)
      expect(isSealed(sealed)).toBe(true)
      expect(sealer.open(sealed, context)).toBe(plain)
    }),
  )
})

it('seals the same value differently each time, and shows nothing of it', () => {
  const [a, b] = [sealer.seal('hunter2', 'account'), sealer.seal('hunter2', 'account')]
  expect(a).not.toBe(b)
  expect(a).toMatch(new RegExp(`^ENC:${sealer.keyId}:[A-Za-z0-9+/]+=*$`))
  expect(Buffer.from(a!.split(':')[2]!, 'base64').toString('latin1')).not.toContain('hunter2')
})

it('does not open a value that was moved to another place', () => {
  const sealed = sealer.seal('hunter2', 'account acme/main')
  expect(() => sealer.open(sealed, 'account evil/main')).toThrow(SealError)
})

it('does not open a value after any of its bytes changed, and the error holds none of it', () => {
  const sealed = sealer.seal('hunter2', 'account')
  const data = Buffer.from(sealed.split(':')[2]!, 'base64')
  for (let at = 0; at < data.length; at += 1) {
    const changed = Buffer.from(data)
    changed[at]! ^= 1
    const text = `ENC:${sealer.keyId}:${changed.toString('base64')}`
    expect(() => sealer.open(text, 'account')).toThrow('the stored secret of account was altered or belongs elsewhere')
  }
})

it('names the matter when the key is another or the value no sealed one', () => {
  const other = createSealer(randomBytes(32))
  const sealed = other.seal('hunter2', 'account')
  expect(() => sealer.open(sealed, 'account')).toThrow(/sealed with another key/)
  // The id is only a hint: a forged one does not make the key fit.
  const forged = sealed.replace(other.keyId, sealer.keyId)
  expect(() => sealer.open(forged, 'account')).toThrow(/altered/)
  for (const text of ['', 'hunter2', 'ENC:', 'ENC:a', 'ENC:a:b:c', `ENC:${sealer.keyId}:AAAA`]) {
    expect(() => sealer.open(text, 'account')).toThrow(SealError)
  }
})

it('has a check value that is the key’s own and tells nothing of it', () => {
  expect(keyCheckValue(key)).toBe(keyCheckValue(Buffer.from(key)))
  expect(keyCheckValue(key)).not.toBe(keyCheckValue(randomBytes(32)))
  expect(keyCheckValue(key)).not.toContain(sealer.keyId)
  expect(keyCheckValue(key)).toMatch(/^[0-9a-f]{64}$/)
})

it('refuses a key of another length', () => {
  expect(() => createSealer(randomBytes(16))).toThrow(RangeError)
})
