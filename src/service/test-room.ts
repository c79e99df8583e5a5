/**
 * How many live tests (a login, a call to a report endpoint) of one tenant may be under way in this process. Each holds a
 * connection for up to a minute: by its own key alone a tenant could take all descriptors from everybody's mail.
 */
import { AppError } from '../lib/errors.js'

/** `mail-proxy diagnose` has up to eight. */
const MOST = 10

export interface TestRoom {
  /** Rejects with too_many_requests instead of waiting: a queue would be what is to be prevented. */
  during<T>(tenantId: string, test: () => Promise<T>): Promise<T>
}

export function createTestRoom(): TestRoom {
  const running = new Map<string, number>()
  return {
    async during(tenantId, test) {
      const count = running.get(tenantId) ?? 0
      if (count >= MOST) {
        throw new AppError('too_many_requests', `${MOST} tests of tenant '${tenantId}' are under way`, {
          retryAfterSeconds: 5,
        })
      }
      running.set(tenantId, count + 1)
      try {
        return await test()
      } finally {
        const left = running.get(tenantId)! - 1
        if (left === 0) running.delete(tenantId)
        else running.set(tenantId, left)
      }
    },
  }
}
