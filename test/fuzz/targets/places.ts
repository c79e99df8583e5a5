/** Where the service connects and which files it opens: hosts, URLs, paths, names. */

import { BlockList, isIP } from 'node:net'
import { AttachmentFailure } from '../../../src/attachments/failure.js'
import { stripMd5Marker } from '../../../src/attachments/filename.js'
import { safeFilename } from '../../../src/attachments/offload/link.js'
import { placeOf, problemOfLargeFiles } from '../../../src/attachments/offload/settings.js'
import { problemOfConfig } from '../../../src/attachments/stores/config-problem.js'
import { encodedKeyOf, keyOf, savedAs } from '../../../src/attachments/stores/path.js'
import { KEYS } from '../../../src/attachments/stores/settings.js'
import type { Backend } from '../../../src/attachments/stores/store.js'
import { createNetworkGuard, resolveHost } from '../../../src/lib/network-guard.js'
import { urlOf } from '../../../src/lib/url.js'
import { judgeSources } from '../../../src/messages/attachment-sources.js'
import { reportEndpoint } from '../../../src/tenants/endpoint.js'
import type { Tenant } from '../../../src/tenants/tenant.js'
import { check, FIELD, type FuzzTarget, fieldsOf, stated } from '../target.js'

/** Not asked of the DNS: what is no literal here resolves to nothing. */
const guard = createNetworkGuard({ allowPrivate: false, allowed: [] }, async host =>
  isIP(bare(host)) === 0 ? [] : resolveHost(host),
)
const bare = (host: string) => host.replace(/^\[(.*)\]$/, '$1')

/** The same once more, by node's own reading of addresses. */
const inside = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
  ['168.63.129.16', 32],
] as const)
  inside.addSubnet(network, bits, 'ipv4')
for (const [network, bits] of [
  ['::', 96],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
  ['2002::', 16],
  ['2001::', 32],
  ['64:ff9b:1::', 48],
  ['64:ff9b::a00:0', 104],
  ['64:ff9b::7f00:0', 104],
  ['64:ff9b::a9fe:0', 112],
  ['64:ff9b::c0a8:0', 112],
  ['2001:db8::', 32],
] as const)
  inside.addSubnet(network, bits, 'ipv6')

const hosts: FuzzTarget = {
  name: 'hosts',
  seeds: [
    '127.0.0.1',
    '2130706433',
    '0x7f.1',
    '0177.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '169.254.169.254',
    '8.8.8.8',
    '[2606:4700::1111]',
    'localhost',
    '１２７.0.0.1',
    '127。0。0。1',
    '10.0.0.1.',
    '[fe80::1%25lo]',
  ],
  words: [
    '.',
    ':',
    '::',
    '0x',
    '0',
    'ffff:',
    '64:ff9b::',
    '2002:',
    '127',
    '7f00',
    '10.',
    '169.254.',
    '%',
    '%25',
    '[',
    ']',
    '。',
    '①',
    '\0',
    ' ',
    '@',
    '#',
    '\\',
    '/',
    '4294967295',
    'a00:1',
    '::ffff:0:',
  ],
  async run(octets) {
    const text = octets.toString()
    // As it stands, for an account's host; and as a URL's host is read.
    const asHost = urlOf(`http://${text}/`)?.hostname ?? ''
    for (const host of [text, asHost]) {
      const address = bare(host)
      const family = isIP(address)
      if (family === 0) continue
      const passed = guard.isAllowed(address)
      const isInside = inside.check(address.replace(/%.*$/, ''), family === 6 ? 'ipv6' : 'ipv4')
      check(!(passed && isInside), 'a private address passes', host)
      const found = await guard.lookup(host).then(
        all => all.length,
        error => String(error.name),
      )
      check(found === (passed ? 1 : 'GuardError'), 'lookup and isAllowed differ', host, found)
    }
    check(typeof guard.isAllowed(text) === 'boolean', 'no verdict')
    check(!guard.isAllowed(`${text}\0.example`), 'a text that ends in the middle')
  },
}

const paths: FuzzTarget = {
  name: 'paths',
  seeds: [
    ['a/b.txt', 'up'].join(FIELD),
    ['../etc/passwd', ''].join(FIELD),
    ['/abs', '..'].join(FIELD),
    ['a//./b', './'].join(FIELD),
    ['é/{MD5:9e107d9d372bb6826bd81d3542a419d6}', ''].join(FIELD),
  ],
  words: [
    FIELD,
    '/',
    '\\',
    '..',
    '.',
    '../',
    '%2e',
    '%2f',
    '\0',
    '\n',
    '\u2028',
    '\ud800',
    '\u202e',
    'é',
    '"',
    ';',
    '%',
    '{MD5:',
    '}',
    '_',
    'C:',
    '//',
    'a'.repeat(260),
    '/proc/self/',
    '~',
  ],
  async run(octets) {
    const [path, prefix] = fieldsOf(octets, 2) as [string, string]
    const key = await stated([AttachmentFailure], () => keyOf(prefix, path))
    if (key.ok) {
      check(
        !key.value.startsWith('/') && key.value.split('/').every(each => !['', '.', '..'].includes(each)),
        'a path that leads elsewhere',
        key.value,
      )
      const url = new URL(`https://h.test/base/${encodedKeyOf(prefix, path)}`)
      check(url.pathname.startsWith('/base/') && url.search === '' && url.hash === '', 'out of the base', url.href)
      check(
        url.pathname.slice('/base/'.length).split('/').map(decodeURIComponent).join('/') === key.value,
        'another name',
        url.href,
      )
    }
    check(
      /^attachment; filename="[^"\\\r\n\0-\x1f\x7f-\uffff]*"; filename\*=UTF-8''[\w!#$&+.^`|~%-]*$/.test(savedAs(path)),
      'no header',
      savedAs(path),
    )
    const name = safeFilename(path)
    check(/^[^\s/\\"<>.][^\s/\\"<>]*$/u.test(name) && Buffer.byteLength(name) < 200, 'no safe name', name)
    check(
      stripMd5Marker(path).filename === path.split(/_?\{MD5:[^{}]*\}/).join(''),
      'a marker is left, or more is gone',
    )
    const ref = { filename: 'a', fetchMode: 'filesystem' as const, storagePath: path }
    const refusal = judgeSources([ref], { baseDir: '/srv/files', baseUrl: null, hasEndpoint: false }, new Set())
    if (refusal === null && !path.startsWith('/'))
      check(
        !new URL(`file:///r/x/${encodeURI(path).replace(/[?#]/g, '_').replaceAll('%5C', '/')}`).pathname.startsWith(
          '/r/y',
        ),
        'leads out',
      )
  },
}

const endpoints: FuzzTarget = {
  name: 'endpoints',
  mostOctets: 3_000,
  seeds: [
    ['https://c.test/app', '/mail-proxy/sync'].join(FIELD),
    ['http://u:p@10.0.0.1:8080/?k=v#x', 'sync?a=b'].join(FIELD),
    ['https://c.test/a', '../b'].join(FIELD),
    ['https://c.test/a', '//evil.test/'].join(FIELD),
  ],
  words: [
    FIELD,
    '/',
    '\\',
    '..',
    '%2e%2e',
    '%2f',
    '@',
    ':',
    '//',
    '?',
    '#',
    '\t',
    '\n',
    '\0',
    ' ',
    'evil.test',
    'http:',
    'https://',
    'javascript:',
    '%',
    '\ud800',
    '[::1]',
    ':99999',
  ],
  run(octets) {
    const [base, path] = fieldsOf(octets, 2) as [string, string]
    const tenant = { clientBaseUrl: base, clientSyncPath: path, clientAuth: null, endpointTrusted: true } as Tenant
    const endpoint = reportEndpoint(tenant, { url: null, user: null, password: null, token: null })
    if (endpoint === null || endpoint.url === null) return
    const { url, authorization } = endpoint
    const root = new URL(base)
    check(url.origin === root.origin && /^https?:$/.test(url.protocol), 'another origin', url.href)
    check(url.pathname.startsWith(`${root.pathname.replace(/\/+$/, '')}/`), 'out of the base', url.href)
    check(url.username === '' && url.password === '' && url.hash === '', 'credentials in the URL', url.href)
    check(authorization === null || /^Basic [A-Za-z0-9+/=]+$/.test(authorization), 'no header', authorization)
  },
}

const stores: FuzzTarget = {
  name: 'store-configs',
  seeds: [
    ['s3', '{"bucket":"b","endpoint":"https://s.test","access_key_id":"a","secret_access_key":"s","region":"eu"}'].join(
      FIELD,
    ),
    [
      'http',
      '{"base_url":"https://h.test/a","auth":{"method":"basic","user":"u","password":"p"},"headers":{"X-A":"b"}}',
    ].join(FIELD),
    ['azure', '{"container":"c","connection_string":"AccountName=a;AccountKey=aHU="}'].join(FIELD),
    ['gcs', '{"bucket":"b","credentials":{"client_email":"a@b","private_key":"k"}}'].join(FIELD),
    ['webdav', '{"url":"https://w.test","user":"u","password":"p"}'].join(FIELD),
    [
      'large',
      '{"enabled":true,"action":"rewrite","storage_url":"s3://b/p","storage_config":{"endpoint":"https://s.test"},"public_base_url":"https://f.test"}',
    ].join(FIELD),
  ],
  words: [
    FIELD,
    ...Object.keys(KEYS),
    ...new Set(Object.values(KEYS).flatMap(keys => Object.keys(keys).map(key => `"${key}":`))),
    '{',
    '}',
    '[]',
    'null',
    '"{\\"a\\":1}"',
    '"__proto__":',
    '"constructor":',
    '"toString":',
    '\\u0000',
    'file:///',
    's3://',
    'gs://',
    '%',
    '..',
    '?',
    '#',
    '@',
  ],
  run(octets) {
    const [backend, text] = fieldsOf(octets, 2) as [string, string]
    let config: unknown
    try {
      config = JSON.parse(text)
    } catch {
      return
    }
    if (typeof config !== 'object' || config === null || Array.isArray(config)) return
    const given = config as Record<string, unknown>
    for (const access of [{ guard: null }, { guard }]) {
      for (const problem of [
        Object.hasOwn(KEYS, backend) ? problemOfConfig(backend as Backend, given, access) : null,
        problemOfLargeFiles(given, access),
      ]) {
        check(
          problem === null || (problem.length > 0 && problem.length < 300 && !/\p{Cc}/u.test(problem)),
          'no sentence',
          problem,
        )
      }
    }
    const place = placeOf(given)
    check(typeof place !== 'string' || place.length > 0, 'no place')
  },
}

export const placeTargets = [hosts, paths, endpoints, stores]
