import { expect, it } from 'vitest'
import { originOf, urlOf } from './url.js'

it('answers the URL, upon its base where it needs one, and null for what is none', () => {
  expect(urlOf('https://a.test/x?y')?.href).toBe('https://a.test/x?y')
  expect(urlOf('../z', new URL('https://a.test/x/y'))?.href).toBe('https://a.test/z')
  expect([urlOf(''), urlOf('a.test'), urlOf('https://a b/'), urlOf('/x')]).toEqual([null, null, null, null])
})

it('answers origins', () => {
  expect(originOf('HTTPS://A.test:443/x')).toBe('https://a.test')
  expect([originOf(null), originOf('x')]).toEqual([null, null])
})

it('takes letters beyond ASCII also when it was asked very often', () => {
  let refused = 0
  for (let i = 0; i < 100_000; i += 1) {
    if (urlOf(i % 2 === 0 ? 'https://bücher.test/é' : 'https://a.test/b') === null) refused += 1
  }
  expect(refused).toBe(0)
  expect(urlOf('https://bücher.test/é')?.href).toBe('https://xn--bcher-kva.test/%C3%A9')
})
