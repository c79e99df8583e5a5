/**
 * The network guard: which addresses the service may connect to on behalf of a tenant (spec section 9). A name is
 * resolved once, each address is judged, and the caller connects to what `lookup` answered, never to the name again:
 * a DNS answer that changes in between (rebinding) is never asked for.
 */
import { lookup as dnsLookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

export interface HostAddress {
  readonly address: string
  readonly family: 4 | 6
}

export interface NetworkGuard {
  /** True when this address, in any spelling the operating system would accept, may be connected to. */
  isAllowed(ip: string): boolean
  /** The addresses of a host name or IP literal that may be connected to. Throws GuardError when none may; DNS errors pass. */
  lookup(host: string): Promise<HostAddress[]>
}

export interface NetworkGuardSettings {
  readonly allowPrivate: boolean
  /** Addresses, CIDRs or host names that pass whatever their address is. */
  readonly allowed: readonly string[]
}

/** The guard said no. Names the host and nothing else: what it resolves to inside a network is not the tenant's to learn. */
export class GuardError extends Error {
  override name = 'GuardError'
  /** For clients that hand on the code of a socket's error and drop its class. */
  readonly code = 'ERR_HOST_NOT_ALLOWED'
  constructor(readonly host: string) {
    super(`Host ${printable(host)} is not allowed: it has no address this service may connect to.`)
  }
}

export function createNetworkGuard(settings: NetworkGuardSettings, resolve = resolveHost): NetworkGuard {
  const networks: [Address, number][] = []
  const names = new Set<string>()
  for (const entry of settings.allowed) {
    const network = parseNetwork(entry.trim())
    if (network) networks.push(network)
    else if (entry.trim() !== '') names.add(normalName(entry))
  }

  function isAllowed(ip: string): boolean {
    const address = parseAddress(ip)
    if (!address) return false
    if (settings.allowPrivate || isPublic(address)) return true
    return networks.some(([network, bits]) => matches(address, network, bits))
  }

  async function lookup(host: string): Promise<HostAddress[]> {
    const addresses = await resolve(host)
    if (names.has(normalName(host))) return addresses
    const passed = addresses.filter(({ address }) => isAllowed(address))
    if (passed.length === 0) throw new GuardError(host)
    return passed
  }

  return { isAllowed, lookup }
}

/** All addresses of a host as the operating system sees them (hosts file, search domains, `0x7f.1`), in its order. */
export async function resolveHost(host: string): Promise<HostAddress[]> {
  const name = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  const literal = isIP(name)
  if (literal !== 0) return [{ address: name, family: literal as 4 | 6 }]
  const found = await dnsLookup(name, { all: true, verbatim: true })
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
}

type Address = ipaddr.IPv4 | ipaddr.IPv6

// Azure's platform endpoint: a public address by its range, but answered inside every virtual network there.
const azureWireServer = ipaddr.parse('168.63.129.16')
// An IPv6-only network reaches all of IPv4 through this prefix (RFC 6052), so it is judged by the address inside.
const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')
// All of IPv6 that IANA hands out as global unicast; what lies outside is reserved or of one's own network.
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

function isPublic(address: Address): boolean {
  if (address instanceof ipaddr.IPv4) {
    return address.range() === 'unicast' && !address.match(azureWireServer, 32)
  }
  if (address.match(nat64)) return isPublic(new ipaddr.IPv4(address.toByteArray().slice(12)))
  // 6to4 and Teredo carry an IPv4 address to who knows whom; nobody serves SMTP or HTTP there: refused by range().
  return address.match(globalUnicast) && address.range() === 'unicast'
}

/** Reads decimal, hex and octal forms as inet_aton does; an IPv4-mapped IPv6 address is the IPv4 inside it. */
function parseAddress(ip: string): Address | null {
  const bare = ip.startsWith('[') && ip.endsWith(']') ? ip.slice(1, -1) : ip
  try {
    return ipaddr.process(written(bare))
  } catch {
    return null
  }
}

/** ipaddr.js takes ::1.2.3.4 for ::ffff:1.2.3.4, and 0::1.2.3.4 for what both are, and are connected to (RFC 4291 §2.5.5.1). */
function written(ip: string): string {
  return ip.replace(/^::(?=[^:]*\.)/, '0::')
}

function parseNetwork(entry: string): [Address, number] | null {
  try {
    if (!entry.includes('/')) {
      const address = parseAddress(entry)
      return address && [address, address instanceof ipaddr.IPv4 ? 32 : 128]
    }
    const [network, bits] = ipaddr.parseCIDR(written(entry))
    if (network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress() && bits >= 96) {
      return [network.toIPv4Address(), bits - 96]
    }
    return [network, bits]
  } catch {
    return null
  }
}

function matches(address: Address, network: Address, bits: number): boolean {
  return address.kind() === network.kind() && address.match(network, bits)
}

function normalName(host: string): string {
  return host.trim().toLowerCase().replace(/\.$/, '')
}

function printable(host: string): string {
  return host.replace(/[\x00-\x1f\x7f-\x9f]/g, '').slice(0, 255)
}
