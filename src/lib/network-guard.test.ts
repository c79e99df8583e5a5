import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createNetworkGuard, GuardError, type HostAddress, resolveHost } from './network-guard.js'

const guard = createNetworkGuard({ allowPrivate: false, allowed: [] })

function answering(...addresses: string[]): () => Promise<HostAddress[]> {
  return async () => addresses.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
}

describe('isAllowed', () => {
  it.each(['8.8.8.8', '93.184.216.34', '2606:4700::1111', '[2606:4700::1111]', '::ffff:8.8.8.8', '64:ff9b::808:808'])(
    'lets %s pass',
    ip => expect(guard.isAllowed(ip)).toBe(true),
  )

  it.each([
    ['loopback', '127.0.0.1'],
    ['loopback elsewhere', '127.255.3.4'],
    ['loopback v6', '::1'],
    ['private 10', '10.1.2.3'],
    ['private 172', '172.31.255.255'],
    ['private 192', '192.168.0.1'],
    ['unique local', 'fd12::1'],
    ['link-local', '169.254.1.1'],
    ['link-local v6', 'fe80::1'],
    ['link-local with zone', 'fe80::1%eth0'],
    ['metadata', '169.254.169.254'],
    ['metadata v6', 'fd00:ec2::254'],
    ['metadata of Azure', '168.63.129.16'],
    ['CGNAT', '100.64.0.1'],
    ['multicast', '224.0.0.1'],
    ['multicast v6', 'ff02::1'],
    ['reserved', '240.0.0.1'],
    ['documentation', '192.0.2.1'],
    ['documentation v6', '2001:db8::1'],
    ['broadcast', '255.255.255.255'],
    ['unspecified', '0.0.0.0'],
    ['unspecified v6', '::'],
    ['mapped loopback', '::ffff:127.0.0.1'],
    ['mapped private in hex', '::ffff:c0a8:1'],
    ['compatible loopback', '::7f00:1'],
    ['compatible, of a public address', '::8.8.8.8'],
    ['compatible with zone', '::8.8.8.8%eth0'],
    ['translated loopback', '::ffff:0:127.0.0.1'],
    ['6to4', '2002:7f00:1::1'],
    ['6to4 of a public address', '2002:808:808::1'],
    ['Teredo', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
    ['NAT64 of a private address', '64:ff9b::a00:1'],
    ['NAT64 of a local network', '64:ff9b:1::808:808'],
    ['outside global unicast', '4000::1'],
    ['a decimal number', '2130706433'],
    ['hex', '0x7f.0.0.1'],
    ['octal', '0177.0.0.1'],
    ['short form', '127.1'],
    ['nothing', ''],
    ['a name', 'localhost'],
  ])('stops %s', (_what, ip) => expect(guard.isAllowed(ip)).toBe(false))

  it('passes listed addresses and networks, and only those', () => {
    const opened = createNetworkGuard({
      allowPrivate: false,
      allowed: ['10.0.0.0/8', '::1', '192.168.1.1', '::ffff:172.16.0.0/108'],
    })
    expect(['10.9.9.9', '::1', '192.168.1.1', '::ffff:10.0.0.1', '172.16.1.1'].map(opened.isAllowed)).toEqual(
      Array(5).fill(true),
    )
    expect(['127.0.0.1', '192.168.1.2', 'fd00::1'].map(opened.isAllowed)).toEqual(Array(3).fill(false))
  })

  it('passes everything that is an address when private networks are allowed', () => {
    const open = createNetworkGuard({ allowPrivate: true, allowed: [] })
    expect(['127.0.0.1', '::1', '10.0.0.1'].every(open.isAllowed)).toBe(true)
    expect(open.isAllowed('localhost')).toBe(false)
  })

  it('judges every spelling of an IPv4 address alike', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), number => {
        const octets = [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255]
        const verdict = guard.isAllowed(octets.join('.'))
        const hexPair = `${((number >>> 16) & 0xffff).toString(16)}:${(number & 0xffff).toString(16)}`
        for (const form of [
          String(number),
          `0x${number.toString(16)}`,
          `0${number.toString(8)}`,
          octets.map(octet => `0x${octet.toString(16)}`).join('.'),
          octets.map(octet => `0${octet.toString(8)}`).join('.'),
          `${octets[0]}.${number & 0xffffff}`,
          `::ffff:${octets.join('.')}`,
          `::ffff:${hexPair}`,
          `64:ff9b::${hexPair}`,
        ]) {
          expect([form, guard.isAllowed(form)]).toEqual([form, verdict])
        }
      }),
    )
  })

  it('never lets an address of a private network pass', () => {
    const privateOctets = fc.oneof(
      fc.tuple(fc.constantFrom(10, 127, 0), fc.nat(255), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(192), fc.constant(168), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(169), fc.constant(254), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.integer({ min: 224, max: 255 }), fc.nat(255), fc.nat(255), fc.nat(255)),
    )
    fc.assert(fc.property(privateOctets, octets => !guard.isAllowed(octets.join('.'))))
  })

  it('never throws, whatever it is asked', () => {
    fc.assert(fc.property(fc.string(), text => typeof guard.isAllowed(text) === 'boolean'))
  })
})

describe('lookup', () => {
  it('answers only the addresses that passed', async () => {
    const mixed = createNetworkGuard({ allowPrivate: false, allowed: [] }, answering('10.0.0.1', '8.8.8.8', '::1'))
    expect(await mixed.lookup('mixed.example')).toEqual([{ address: '8.8.8.8', family: 4 }])
  })

  it('refuses a name whose every address is private, and names the host only', async () => {
    const inside = createNetworkGuard({ allowPrivate: false, allowed: [] }, answering('10.0.0.1', 'fd00::1'))
    const refusal = await inside.lookup('intern\r\nal.example').catch(error => error)
    expect(refusal).toBeInstanceOf(GuardError)
    expect(refusal.message).toMatch(/^Host internal\.example is not allowed: /)
    expect(refusal.message).not.toMatch(/10\.0|fd00/)
  })

  it('refuses IP literals and the numeric forms the operating system would connect', async () => {
    for (const host of ['127.0.0.1', '[::1]', '::1', '0x7f.1', '2130706433', '0177.0.0.1', 'localhost']) {
      await expect(guard.lookup(host)).rejects.toThrow(`Host ${host} is not allowed`)
    }
  })

  it('passes a listed host name, in any case and with a trailing dot, and not its subdomains', async () => {
    const named = createNetworkGuard({ allowPrivate: false, allowed: ['Relay.internal'] }, answering('10.0.0.1'))
    expect(await named.lookup('relay.INTERNAL.')).toHaveLength(1)
    await expect(named.lookup('x.relay.internal')).rejects.toThrow(GuardError)
  })

  it('lets DNS errors pass as they are', async () => {
    await expect(guard.lookup('no-such-host.invalid')).rejects.toMatchObject({ syscall: 'getaddrinfo' })
  })

  it('resolves localhost as the operating system does', async () => {
    expect((await resolveHost('localhost')).map(({ address }) => address)).toEqual(
      expect.arrayContaining([expect.stringMatching(/^(127\.0\.0\.1|::1)$/)]),
    )
  })
})
