import { describe, expect, it } from 'vitest'
import { type Replies, type Reply, SmtpFailure } from '../smtp/transport.js'
import { classifyError, classifyReplies, Interrupted, Undeliverable, words } from './classify.js'

const facts = { n: 3, startedAt: 1_782_813_600_999, durationMs: 12.4 }
const A = 'a@x.test'
const B = 'b@x.test'
const C = 'c@x.test'

/** `550 5.1.1 No such user` as the reply parser would give it. */
function reply(line: string): Reply {
  const [, code, text] = /^(\d{3}) ?(.*)$/.exec(line)!
  return { code: Number(code), enhanced: /^[245]\.\d+\.\d+/.exec(text!)?.[0] ?? null, text: text! }
}
function replies(
  recipients: readonly [string, string | null][],
  data: string | null,
  mail: string | null = null,
): Replies {
  return {
    mail: mail === null ? null : reply(mail),
    recipients: recipients.map(([address, line]) => ({ address, reply: line === null ? null : reply(line) })),
    data: data === null ? null : reply(data),
    reachedData: data !== null,
    remote: 'mx.test:25',
    durationMs: 7.6,
  }
}
const verdictsOf = (given: Replies, open: readonly string[]) =>
  classifyReplies(given, open, facts).verdicts.map(each => each.verdict)

describe('recipient scope', () => {
  it('250 after the dot accepts every recipient that was accepted', () => {
    const outcome = classifyReplies(replies([[A, '250 ok']], '250 2.0.0 queued as 1'), [A], facts)
    expect(outcome).toMatchObject({ failure: null, inDoubt: false, interrupted: false, reachedData: true })
    expect(outcome.verdicts).toEqual([{ address: A, verdict: 'accepted', code: '250', text: '250 2.0.0 queued as 1' }])
  })

  it('a refused recipient does not stop the others', () => {
    const given = replies(
      [
        [A, '550 5.1.1 unknown'],
        [B, '250 ok'],
        [C, '451 4.7.1 greylisted'],
      ],
      '250 ok',
    )
    expect(classifyReplies(given, [A, B, C], facts).verdicts).toMatchObject([
      { address: A, verdict: 'refused', code: '550', text: '550 5.1.1 unknown' },
      { address: B, verdict: 'accepted' },
      { address: C, verdict: 'transient', code: '451', text: '451 4.7.1 greylisted' },
    ])
  })

  it('251 and 252 accept', () => {
    expect(verdictsOf(replies([[A, '251 will forward']], '250 ok'), [A])).toEqual(['accepted'])
  })

  it('recipients that the transaction left out stay open', () => {
    expect(verdictsOf(replies([[A, '250 ok']], '250 ok'), [A, B])).toEqual(['accepted', 'open'])
  })

  it('all refused: DATA was not reached and no limit is used', () => {
    const outcome = classifyReplies(replies([[A, '550 no']], null), [A], facts)
    expect(outcome).toMatchObject({ reachedData: false, failure: null, verdicts: [{ verdict: 'refused' }] })
  })
})

describe('too many recipients (RFC 5321 §4.5.3.1.10)', () => {
  it.each(['452 4.5.3 too many', '452 Too many recipients', '552 Too many recipients', '552 5.5.3 too many'])(
    '%s: the rest go on at once when some were accepted',
    line => {
      const given = replies(
        [
          [A, '250 ok'],
          [B, line],
          [C, null],
        ],
        '250 ok',
      )
      expect(verdictsOf(given, [A, B, C])).toEqual(['accepted', 'open', 'open'])
    },
  )

  it.each(['452 4.5.3 too many', '552 Too many recipients'])(
    '%s to the very first is tried again later, never final',
    line => {
      const given = replies(
        [
          [A, line],
          [B, null],
        ],
        null,
      )
      expect(verdictsOf(given, [A, B])).toEqual(['transient', 'open'])
    },
  )

  it('452 for another reason is the recipient’s own', () => {
    expect(
      verdictsOf(
        replies(
          [
            [A, '250 ok'],
            [B, '452 4.2.2 mailbox full'],
          ],
          '250 ok',
        ),
        [A, B],
      ),
    ).toEqual(['accepted', 'transient'])
  })

  it('552 for another reason is final', () => {
    expect(
      verdictsOf(
        replies(
          [
            [A, '250 ok'],
            [B, '552 5.2.2 mailbox full'],
          ],
          '250 ok',
        ),
        [A, B],
      ),
    ).toEqual(['accepted', 'refused'])
  })
})

describe('message scope', () => {
  it.each([
    ['554 5.7.1 spam', 'refused'],
    ['451 4.3.0 try again', 'transient'],
  ])('%s to the content holds for all that were accepted', (line, verdict) => {
    const given = replies(
      [
        [A, '250 ok'],
        [B, '550 no'],
        [C, '250 ok'],
      ],
      line,
    )
    const outcome = classifyReplies(given, [A, B, C], facts)
    expect(outcome.verdicts.map(each => each.verdict)).toEqual([verdict, 'refused', verdict])
    expect(outcome.verdicts[1]!.text).toBe('550 no')
  })

  it.each([
    ['553 5.1.8 sender unknown', 'refused'],
    ['450 4.7.1 later', 'transient'],
  ])('%s to MAIL holds for every open recipient', (line, verdict) => {
    const outcome = classifyReplies(
      replies(
        [
          [A, null],
          [B, null],
        ],
        null,
        line,
      ),
      [A, B, C],
      facts,
    )
    expect(outcome).toMatchObject({ failure: null, reachedData: false })
    expect(outcome.verdicts.map(each => each.verdict)).toEqual([verdict, verdict, verdict])
    expect(outcome.attempt?.error).toBe(line)
  })

  it('a message that cannot be made is final or not, as its maker says, and names the cause', () => {
    const gone = classifyError(new Undeliverable('invoice.pdf: 404', 'attachment_not_found', true), [A, B], facts)
    expect(gone.verdicts).toEqual([
      { address: A, verdict: 'refused', code: 'attachment_not_found', text: 'invoice.pdf: 404' },
      { address: B, verdict: 'refused', code: 'attachment_not_found', text: 'invoice.pdf: 404' },
    ])
    expect(gone).toMatchObject({ failure: null, reachedData: false, attempt: { n: 3, error: 'invoice.pdf: 404' } })
    const later = classifyError(new Undeliverable('timed out', 'attachment_unavailable', false), [A], facts)
    expect(later.verdicts).toMatchObject([{ verdict: 'transient' }])
  })
})

describe('account scope', () => {
  it.each([
    '530 5.7.0 Authentication required',
    '534 5.7.9 too weak',
    '535 5.7.8 bad',
    '538 5.7.11 encryption required',
  ])('%s to MAIL speaks of the login', line => {
    const outcome = classifyReplies(replies([[A, null]], null, line), [A], facts)
    expect(outcome.failure).toEqual({ scope: 'account', offered: true, code: line.slice(0, 3), text: line })
    expect(outcome.verdicts).toEqual([{ address: A, verdict: 'open', code: null, text: null }])
  })

  it('530 to RCPT or DATA asks for a login (RFC 4954 §6) and is no final word on a recipient', () => {
    // No pause either: the same server may take other recipients without a login.
    const atRcpt = classifyReplies(
      replies(
        [
          [A, '250 ok'],
          [B, '530 5.7.0 Authentication required'],
          [C, '550 no'],
        ],
        '250 ok',
      ),
      [A, B, C],
      facts,
    )
    expect(atRcpt.failure).toBeNull()
    expect(atRcpt.verdicts.map(each => each.verdict)).toEqual(['accepted', 'transient', 'refused'])
    expect(verdictsOf(replies([[A, '250 ok']], '530 5.7.0 Authentication required'), [A])).toEqual(['transient'])
  })

  it('what the transport throws of the account pauses it, with the server’s words', () => {
    const error = new SmtpFailure('login failed', {
      scope: 'account',
      phase: 'auth',
      reply: reply('535 5.7.8 bad password'),
      reachedData: false,
      afterDot: false,
      remote: 'mx.test:587',
    })
    expect(classifyError(error, [A], facts)).toMatchObject({
      failure: { scope: 'account', code: '535', text: '535 5.7.8 bad password' },
      inDoubt: false,
      reachedData: false,
      verdicts: [{ address: A, verdict: 'open' }],
      attempt: { n: 3, remote: 'mx.test:587', error: '535 5.7.8 bad password' },
    })
  })
})

describe('session scope', () => {
  const broken = (afterDot: boolean) =>
    new SmtpFailure('Timed out waiting for the reply to the content', {
      scope: 'session',
      phase: 'final',
      reply: null,
      reachedData: true,
      afterDot,
      remote: 'mx.test:587',
    })

  it('a connection that breaks before the dot is a failure without doubt', () => {
    expect(classifyError(broken(false), [A], facts)).toMatchObject({
      failure: { scope: 'session', code: null, text: 'Timed out waiting for the reply to the content' },
      inDoubt: false,
      reachedData: true,
      interrupted: false,
    })
  })

  it('after the dot it is in doubt', () => {
    expect(classifyError(broken(true), [A], facts)).toMatchObject({ inDoubt: true, reachedData: true })
  })
})

describe('neither', () => {
  it('what we broke off ourselves leaves no trace but the limit it may have used', () => {
    expect(classifyError(new Interrupted('stopped', true), [A], facts)).toEqual({
      verdicts: [{ address: A, verdict: 'open', code: null, text: null }],
      failure: null,
      inDoubt: false,
      reachedData: true,
      interrupted: true,
      attempt: null,
    })
  })

  it('a bug is not an outcome', () => {
    const bug = new TypeError('x is not a function')
    expect(() => classifyError(bug, [A], facts)).toThrow(bug)
  })
})

describe('the record of an attempt', () => {
  it('has what may be long at its end: lists read the beginning alone', () => {
    const record = (given: typeof facts & { conversation?: string[] }) =>
      Object.keys(classifyReplies(replies([[A, '250 ok']], '250 ok'), [A], given).attempt!)
    expect(record(facts).slice(-3)).toEqual(['final', 'error', 'replies'])
    expect(record({ ...facts, conversation: [] }).slice(-2)).toEqual(['replies', 'conversation'])
  })

  it('holds every reply, the final one and where it came from', () => {
    const { attempt } = classifyReplies(
      replies(
        [
          [A, '250 ok'],
          [B, null],
        ],
        '250 2.0.0 queued',
      ),
      [A, B],
      facts,
    )
    expect(attempt).toEqual({
      n: 3,
      started_ts: 1_782_813_600,
      duration_ms: 8,
      remote: 'mx.test:25',
      replies: [{ address: A, code: '250', enhanced: null, text: 'ok' }],
      final: { code: '250', enhanced: '2.0.0', text: '2.0.0 queued' },
      error: null,
    })
  })

  it('words tell code, enhanced code and text, each once', () => {
    expect(words({ code: 550, enhanced: '5.1.1', text: '5.1.1 No such user' })).toBe('550 5.1.1 No such user')
    expect(words({ code: 550, enhanced: '5.1.1', text: 'No such user' })).toBe('550 5.1.1 No such user')
    expect(words({ code: 250, enhanced: null, text: '' })).toBe('250')
  })
})
