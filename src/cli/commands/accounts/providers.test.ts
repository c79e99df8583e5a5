import { expect, it } from 'vitest'
import { filledBy } from './fields.js'
import { findProvider, hostOf, PROVIDERS } from './providers.js'

it('every provider has a name of its own, and a server unless it is another one', () => {
  expect(new Set(PROVIDERS.map(each => each.name)).size).toBe(PROVIDERS.length)
  for (const provider of PROVIDERS) {
    expect(provider.name).toMatch(/^[a-z0-9-]+$/)
    expect(hostOf(provider, 'eu-west-1')).toMatch(provider.name === 'other' ? /^$/ : /^[a-z0-9.-]+\.[a-z]+$/)
    expect([465, 587]).toContain(provider.port)
  }
})

it('a provider that is known is used with TLS or not at all', () => {
  expect(PROVIDERS.filter(each => !each.tls).map(each => each.name)).toEqual(['other'])
})

it('flags come before what the provider says; a flag of 0 takes its limit away', () => {
  const flags = { provider: 'gmail', port: '465', limitPerDay: '0' }
  expect(filledBy(findProvider('gmail'), flags)).toMatchObject({
    host: 'smtp.gmail.com',
    port: '465',
    tls: 'always',
    limitPerDay: '0',
  })
  expect(filledBy(findProvider('other'), {})).toMatchObject({ host: undefined, port: '587', tls: 'auto' })
  expect(() => filledBy(findProvider('ses'), {})).toThrow('--region is missing, as in eu-west-1')
  expect(filledBy(findProvider('ses'), { region: 'eu-south-1' }).host).toBe('email-smtp.eu-south-1.amazonaws.com')
})
