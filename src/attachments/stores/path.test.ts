import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodedKeyOf, keyOf, savedAs } from './path.js'

describe('paths in a store', () => {
  test('the prefix stands before, slashes are evened out', () => {
    expect(keyOf('/a/b/', '//c/./d/')).toBe('a/b/c/d')
    expect(keyOf(undefined, '/c')).toBe('c')
    expect(keyOf('/', 'c')).toBe('c')
  })

  test('no path leads above the prefix', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '.', '..', '', '/', '%2e%2e', '\\', ' '), { maxLength: 8 }), parts => {
        try {
          const key = keyOf('root', parts.join('/'))
          expect(key.startsWith('root/')).toBe(true)
          expect(key.split('/')).not.toContain('..')
          const url = new URL(`http://h/${encodedKeyOf('root', parts.join('/'))}`)
          expect(url.pathname.startsWith('/root/')).toBe(true)
        } catch (error) {
          expect((error as Error).name).toBe('AttachmentFailure')
        }
      }),
    )
  })

  test('a name in Content-Disposition stays within its quotes', () => {
    expect(savedAs('a".txt\r\nX: y')).toBe('attachment; filename="a_.txtX: y"; filename*=UTF-8\'\'a%22.txtX%3A%20y')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), name => {
        expect(savedAs(name)).toMatch(
          /^attachment; filename="[\x20-\x21\x23-\x5b\x5d-\x7e]*"; filename\*=UTF-8''[\w%.!~-]*$/,
        )
      }),
    )
  })
})
