/** A message as parsing leaves it, for tests that put some into the queue by themselves. */
import type { Message } from '../../src/messages/message.js'

/** The account it goes by. */
export interface MessageAccount {
  readonly key: number
  readonly id: string
  readonly tenantId: string
}

/** Due now, to `b@y.test`, with nothing that is optional. */
export function plainMessage({ key, id, tenantId }: MessageAccount, fields: Partial<Message> = {}): Message {
  const to = fields.envelope?.to ?? ['b@y.test']
  return {
    tenantId,
    id: 'm1',
    accountKey: key,
    accountId: id,
    priority: 2,
    batchCode: null,
    notBefore: null,
    expiresAt: null,
    envelope: { from: 'a@x.test', to },
    // In the order of parseMessage, which the search goes by.
    content: { subject: 'Subject', to, from: 'a@x.test', contentType: 'plain', body: 'Body' },
    ...fields,
  }
}
