/** A pause that outlasts the retries fails what waited through it, and nothing once the account is resumed. */
import { describe, expect, it } from 'vitest'
import { loadAccounts } from '../../src/accounts/store.js'
import type { Db } from '../../src/db/db.js'
import { createPauses } from '../../src/delivery/pauses.js'
import type { Sealer } from '../../src/lib/sealer.js'
import type { MailTransport } from '../../src/smtp/transport.js'
import { createFakeClock } from '../support/fake-clock.js'
import { type QueueRig, START, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

const HOUR_MS = 3_600_000
/** More than are failed at a time. */
const QUEUED = 700

describe.each(dialects)('an account that was paused for longer than the retries take, on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
    await rig.add(account, QUEUED)
    rig.now = START + 2 * HOUR_MS
    await rig.exec(
      `update accounts set pause_kind = 'failure', pause_reason = 'no login', pause_code = '535', pause_since = $1,
        failed_at = $2, probe_at = $3 where key = $4`,
      START,
      rig.now,
      rig.now + HOUR_MS,
      account.key,
    )
  })

  /** Looks through the queue once; answers how many failed. */
  async function look(db: Db): Promise<number> {
    let failed = 0
    const pauses = createPauses(
      {
        db,
        clock: createFakeClock(rig.now),
        log: silentLog,
        transport: {} as MailTransport,
        loadAccounts: keys => loadAccounts(db, {} as Sealer, keys),
        changed() {},
        told: (_tenant, _account, _deferred, count) => {
          failed += count
        },
        paused() {},
        probed() {},
        resumed() {},
      },
      { probeFirstMs: 60_000, probeMaxMs: HOUR_MS, patienceMs: HOUR_MS },
    )
    await pauses.step()
    return failed
  }

  const statuses = () => rig.rows('select status, count(*) as n from messages group by status order by status')

  it('all that waits fails', async () => {
    expect(await look(rig.db)).toBe(QUEUED)
    expect(await statuses()).toEqual([{ status: 'error', n: QUEUED }])
  })

  it('what had not failed by the time it is resumed is sent', async () => {
    const resumed: Db = {
      ...rig.db,
      async write(unit) {
        const results = await rig.db.write(unit)
        await rig.exec('update accounts set pause_kind = null, pause_since = null where key = $1', account.key)
        return results
      },
    }
    expect(await look(resumed)).toBe(500)
    expect(await statuses()).toEqual([
      { status: 'error', n: 500 },
      { status: 'pending', n: QUEUED - 500 },
    ])
  })
})
