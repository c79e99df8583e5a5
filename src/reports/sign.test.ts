import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { batchId, signWebhook } from './sign.js'

describe('Standard Webhooks', () => {
  it("the specification's own example verifies", () => {
    // standard-webhooks/spec: the example of section «Signature scheme».
    const headers = signWebhook(
      ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      1_614_265_330_000,
      '{"test": 2432232314}',
    )
    expect(headers['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
    expect(headers['webhook-timestamp']).toBe('1614265330')
  })

  it('two secrets sign side by side, each over id.timestamp.body', () => {
    const secrets = [Buffer.from('first'.repeat(6)), Buffer.from('second'.repeat(6))]
    const headers = signWebhook(
      secrets.map(each => `whsec_${each.toString('base64')}`),
      'msg_1',
      12_345,
      'à body',
    )
    const expected = secrets.map(
      key => `v1,${createHmac('sha256', key).update(Buffer.from('msg_1.12.à body', 'utf8')).digest('base64')}`,
    )
    expect(headers['webhook-signature'].split(' ')).toEqual(expected)
  })

  it('what is no secret signs nothing', () => {
    expect(signWebhook(['', 'whsec_', '***'], 'msg_1', 0, '{}')['webhook-signature']).toBe('')
  })

  it('the id stays with the batch, and empty batches have none in common', () => {
    expect(batchId('acme', [1, 2])).toBe(batchId('acme', [1, 2]))
    expect(batchId('acme', [1, 2])).not.toBe(batchId('acme', [1, 3]))
    expect(batchId('acme', [1, 2])).not.toBe(batchId('other', [1, 2]))
    expect(batchId('acme', [])).not.toBe(batchId('acme', []))
  })
})
