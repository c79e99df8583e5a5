import { describe, expect, test } from 'vitest'
import { createNetworkGuard } from '../../lib/network-guard.js'
import { problemOfConfig } from './open-store.js'
import type { Backend } from './store.js'

const admin = { guard: null }
const tenant = { guard: createNetworkGuard({ allowPrivate: false, allowed: [] }) }

describe('the config of a store', () => {
  test.each<[Backend, Record<string, unknown>, string | null]>([
    ['s3', { bucket: 'b' }, null],
    ['s3', { bucket: 'b', key: 'k', secret: 's', endpoint_url: 'http://minio:9000' }, null],
    ['s3', {}, 'bucket is missing'],
    ['s3', { bucket: '' }, 'bucket is missing'],
    ['s3', { buket: 'b' }, 'unknown key buket: did you mean bucket?'],
    ['s3', { bucket: 'b', something_else: 1 }, 'unknown key something_else'],
    ['s3', { bucket: 'b', '__proto__x\n': 1 }, 'unknown key __proto__x?'],
    ['s3', { bucket: 'b', constructor: 1 }, 'unknown key constructor'],
    ['s3', { bucket: 5 }, 'bucket is not a string'],
    ['s3', { bucket: 'b/../c' }, 'bucket has characters that no such name has'],
    ['s3', { bucket: 'b', region: 'x.evil.example/' }, 'region has characters that no such name has'],
    ['s3', { bucket: 'b', key: 'k' }, 'secret_access_key is missing'],
    ['s3', { bucket: 'b', secret: 's' }, 'access_key_id is missing'],
    [
      's3',
      { bucket: 'b', key: 'k', access_key_id: 'k', secret: 's' },
      'key and access_key_id are two names of the same key',
    ],
    ['s3', { bucket: 'b', prefix: 'a/../..' }, 'prefix has a ".." segment'],
    ['s3', { bucket: 'b', force_path_style: 'perhaps' }, 'force_path_style is neither true nor false'],
    ['s3', { bucket: 'b', endpoint: 'minio:9000' }, 'endpoint is not an http or https URL'],
    ['http', { base_url: 'https://files.example/x' }, null],
    ['http', { base_url: 'ftp://files.example' }, 'base_url is not an http or https URL'],
    [
      'http',
      { base_url: 'https://u:p@files.example' },
      'base_url has a user or password inside; they have their own keys',
    ],
    ['http', { base_url: 'https://files.example?a=b' }, 'base_url has a query or fragment'],
    ['http', { base_url: 'https://x', auth: { method: 'bearer' } }, 'auth.token is missing'],
    ['http', { base_url: 'https://x', auth: { method: 'toString' } }, 'auth.method is none of none, bearer and basic'],
    ['http', { base_url: 'https://x', auth: '{"method":"basic","user":"a","password":"b"}' }, null],
    ['http', { base_url: 'https://x', headers: { Host: 'inner' } }, 'headers: Host cannot be set'],
    [
      'http',
      { base_url: 'https://x', headers: { 'X-A': 'a\r\nHost: b' } },
      'headers: the value of X-A is no plain text',
    ],
    ['webdav', { base_url: 'https://dav.example', username: 'a', password: 'b' }, null],
    ['webdav', { url: 'https://dav.example', user: 'a' }, 'password is missing'],
    ['local', { base_path: '/srv/files' }, null],
    ['local', { root: 'files' }, 'root is not an absolute path'],
    ['gcs', { bucket: 'b', credentials: '/etc/key.json' }, 'credentials is not an object'],
    [
      'gcs',
      { bucket: 'b', credentials: { type: 'external_account' } },
      'credentials is not the key of a service account',
    ],
    ['gcs', { bucket: 'b', credentials: { client_email: 'a@b' } }, 'credentials.private_key is missing'],
    ['azure', { container: 'c' }, 'account_name is missing'],
    ['azure', { container: 'c', account_name: 'ada.evil/' }, 'account_name has characters that no such name has'],
    [
      'azure',
      { container: 'c', account_name: 'a', account_key: 'k', sas_token: 's' },
      'account_key and sas_token are given, one is enough',
    ],
    ['azure', { container: 'c', connection_string: 'nonsense' }, 'connection_string is not one of Azure'],
    [
      'azure',
      { container: 'c', connection_string: 'AccountName=a;EndpointSuffix=b' },
      'connection_string is not one of Azure',
    ],
    ['azure', { container: 'c', connection_string: 'AccountKey=a==; AccountName=b' }, null],
    ['azure', { container: 'c', connection_string: 'BlobEndpoint=https://x;SharedAccessSignature=s' }, null],
    ['azure', { container: 'c', connection_string: 'usedevelopmentstorage=true' }, null],
    ['http', { base_url: `https://x/${'a'.repeat(1_991)}` }, 'base_url is longer than 2000 characters'],
  ])('%s %j: %s', (backend, config, problem) => {
    expect(problemOfConfig(backend, config, admin)).toBe(problem)
  })

  test('a connection string is read once, whatever it is made of: from each of its parts anew it would take hours', () => {
    const config = { container: 'c', connection_string: ';'.repeat(1_000_000) }
    expect(problemOfConfig('azure', config, tenant)).toBe('connection_string is not one of Azure')
  })

  test('no sentence repeats a value', () => {
    const secret = 'hunter2\n'
    for (const key of ['access_key_id', 'secret_access_key', 'session_token', 'bucket', 'region', 'endpoint']) {
      expect(problemOfConfig('s3', { bucket: 'b', [key]: secret }, admin)).not.toContain('hunter2')
    }
  })

  test('a tenant has no local files and no endpoint of Google', () => {
    expect(problemOfConfig('local', { root: '/srv' }, tenant)).toBe('local is not for a volume that a tenant sets')
    const config = { bucket: 'b', endpoint: 'https://g.example' }
    expect(problemOfConfig('gcs', config, tenant)).toBe('endpoint is not for a volume that a tenant sets')
    expect(problemOfConfig('gcs', config, admin)).toBeNull()
  })
})
