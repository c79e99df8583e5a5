import { describe, expect, test } from 'vitest'
import { GuardError } from '../../lib/network-guard.js'
import { AttachmentFailure } from '../failure.js'
import { failureOf } from './failure-of.js'

const coded = (code: string, more: object = {}) => Object.assign(new Error('10.0.0.7 hunter2'), { code, ...more })

describe('what a client threw', () => {
  test.each<[unknown, string, string]>([
    [coded('ENOTFOUND'), 'transient', 'its host name cannot be resolved'],
    [coded('EAI_AGAIN'), 'transient', 'its host name cannot be resolved'],
    [coded('ECONNREFUSED'), 'transient', 'the connection was refused'],
    [coded('ECONNRESET'), 'transient', 'the connection broke off'],
    [coded('EHOSTUNREACH'), 'transient', 'its host cannot be reached'],
    [coded('UND_ERR_CONNECT_TIMEOUT'), 'transient', 'no answer within 30 s'],
    [coded('HPE_INVALID_CONSTANT'), 'transient', 'the server did not speak HTTP'],
    [coded('CERT_HAS_EXPIRED'), 'transient', 'its TLS certificate cannot be verified'],
    [new TypeError('fetch failed', { cause: coded('ECONNRESET') }), 'transient', 'the connection broke off'],
    [new AggregateError([coded('ECONNREFUSED')], 'hunter2'), 'transient', 'the connection was refused'],
    [new GuardError('inner.example'), 'permanent', 'its host has no address this service may connect to'],
    [coded('404', { statusCode: 404 }), 'permanent', 'the server answered 404'],
    [
      coded('x', { name: 'NoSuchKey', $metadata: { httpStatusCode: 404 } }),
      'permanent',
      'the server answered 404 (NoSuchKey)',
    ],
    [coded('x', { name: 'at 10.0.0.7', $metadata: { httpStatusCode: 503 } }), 'transient', 'the server answered 503'],
    [
      coded('x', { statusCode: 409, details: { errorCode: 'BlobBusy' } }),
      'permanent',
      'the server answered 409 (BlobBusy)',
    ],
    [
      Object.assign(new Error('hunter2'), { name: 'CredentialsProviderError' }),
      'transient',
      'the store failed (CredentialsProviderError)',
    ],
    [new Error('Region is missing'), 'permanent', 'the config of its volume needs a region'],
    [new Error('hunter2'), 'transient', 'the store failed'],
    [undefined, 'transient', 'the store failed'],
    ['hunter2', 'transient', 'the store failed'],
  ])('%s is %s: %s', (error, kind, message) => {
    expect(failureOf(error, 30_000)).toMatchObject({ kind, message })
  })

  test('a failure of our own stays what it is, also inside another', () => {
    const own = new AttachmentFailure('it was stopped', 'transient')
    expect(failureOf(new Error('wrapped', { cause: own }), 1)).toBe(own)
  })
})
