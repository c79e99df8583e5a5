/** `messages list|show|delete|retry|cancel|release|discard` as an operator types them, on a running instance and a stopped one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CliWorld, openCliWorld } from '../support/cli-world.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

const WAYS = ['running', 'stopped'] as const

let world: CliWorld
let sink: SmtpSink
const start = () => world.start({ GMP_RETRY_DELAYS: '600' })

beforeAll(async () => {
  world = await openCliWorld()
  sink = await startSink({
    behave: {
      rcpt: ({ address }) =>
        address.startsWith('unknown')
          ? '550 5.1.1 No such user'
          : address.startsWith('grey')
            ? '451 4.7.1 Greylisted'
            : null,
    },
  })
  const service = await start()
  await service.call('POST', '/tenant', { id: 'acme', name: 'Acme Inc.' })
  await service.account(sink, { tenant_id: 'acme' })
  await service.account(sink, { tenant_id: 'acme', id: 'held', in_doubt: 'hold' })
  await service.account({ port: 1 }, { tenant_id: 'acme', id: 'dead' })
  await service.account(sink, { tenant_id: 'acme', id: 'narrow', limit_per_hour: 1 })
  await service.account(sink, { tenant_id: 'acme', id: 'night' })
  const hour = new Date().getUTCHours()
  const rule = {
    name: 'Later',
    start_hour: (hour + 2) % 24,
    end_hour: (hour + 3) % 24,
    tenant_id: 'acme',
    account_id: 'night',
  }
  await service.call('POST', '/commands/rules', {
    ...rule,
    cross_midnight: (hour + 3) % 24 < (hour + 2) % 24,
    timezone: 'UTC',
  })
  await service.call('POST', '/commands/suspend', { tenant_id: 'acme', batch_code: 'winter' })
  const acme = { tenant_id: 'acme' }
  await service.send(
    { ...acme, id: 'good', to: ['one@example.net', 'two@example.net'], cc: 'three@example.net', subject: 'Grüße' },
    { ...acme, id: 'half', to: ['one@example.net', 'unknown@example.net'] },
    { ...acme, id: 'bad', to: 'unknown@example.net' },
    { ...acme, id: 'grey', to: 'grey@example.net' },
    { ...acme, id: 'later', deferred_ts: Math.floor(Date.now() / 1000) + 86_400 },
    { ...acme, id: 'winter-1', batch_code: 'winter' },
    { ...acme, id: 'dead-1', account_id: 'dead' },
    { ...acme, id: 'night-1', account_id: 'night' },
    { ...acme, id: 'narrow-1', account_id: 'narrow' },
    { ...acme, id: 'narrow-2', account_id: 'narrow' },
    { ...acme, id: '=1+1', subject: '=HYPERLINK("http://evil")\u202e', to: 'unknown@example.net' },
  )
  await service.send({
    ...acme,
    id: "it's 1",
    deferred_ts: Math.floor(Date.now() / 1000) + 86_400,
    subject: 'Cancelled',
  })
  await service.call('POST', "/messages/it's%201/cancel?tenant_id=acme")
  const settled = async (id: string, ...states: string[]) =>
    states.includes(
      (await service.message(id, ['running', 'stopped'].some(way => id.startsWith(way)) ? 'ops' : 'acme')).status,
    )
  for (const id of ['good', 'half', 'narrow-1']) await service.until(id, () => settled(id, 'sent'))
  for (const id of ['bad', '=1+1']) await service.until(id, () => settled(id, 'error'))
  for (const id of ['grey', 'dead-1', 'narrow-2']) await service.until(id, () => settled(id, 'deferred'))
  // To be changed: another tenant's, so that the lists of this one stay as they are.
  await service.call('POST', '/tenant', { id: 'ops' })
  await service.account(sink, { tenant_id: 'ops', in_doubt: 'hold' })
  const ops = { tenant_id: 'ops' }
  await service.send(
    ...WAYS.flatMap(way => [
      { ...ops, id: `${way}-waits`, deferred_ts: Math.floor(Date.now() / 1000) + 86_400 },
      { ...ops, id: `${way}-sent` },
    ]),
  )
  for (const way of WAYS) await service.until(way, () => settled(`${way}-sent`, 'sent'))
  sink.behave({ final: () => ({ cut: true }) })
  const doubts = WAYS.flatMap(way => [`${way}-doubt-1`, `${way}-doubt-2`])
  await service.send({ ...acme, id: 'doubt', account_id: 'held' }, ...doubts.map(id => ({ ...ops, id })))
  for (const id of ['doubt', ...doubts]) await service.until(id, () => settled(id, 'in_doubt'))
  sink.behave({})
})
afterAll(async () => {
  await world.close()
  await sink.close()
})

/** Without the times that count on. */
const story = async (id: string) => (await world.run(['acme', 'messages', 'show', id])).out

describe.each(WAYS)('of an instance that is %s', state => {
  beforeAll(async () => {
    if (state === 'stopped') await world.stop()
  })
  afterAll(async () => {
    if (state === 'stopped') await start()
  })

  it('the list has one line a message, the newest first, with the reason in it', async () => {
    const { code, out } = await world.run(['acme', 'messages', 'list'])
    expect(code).toBe(0)
    const lines = out.trimEnd().split('\n')
    expect(lines).toHaveLength(14)
    expect(lines[0]).toMatch(/^ID +STATUS +ACCOUNT +PRIO +TO +SUBJECT +CREATED +WHY$/)
    expect(out).toMatch(/^good +sent +main +2 +one@example\.net \+2 +Grüße +\d\d-\d\d \d\d:\d\d +-$/m)
    expect(out).toMatch(/^grey +deferred .* 451 .*Greylisted, until \d\d-\d\d \d\d:\d\d$/m)
    expect(out).toMatch(/^bad +error .*550.*No such user$/m)
    // A text that would turn the terminal's writing direction is made visible.
    expect(out).toContain('evil")�')
  })

  it('its filters are those of the API, and pages are followed', async () => {
    const ids = async (...flags: string[]) =>
      (await world.json(['acme', 'messages', 'list', ...flags])).messages.map((each: { id: string }) => each.id).sort()
    expect(await ids('--status', 'error')).toEqual(['=1+1', 'bad'])
    expect(await ids('--batch', 'winter')).toEqual(['winter-1'])
    expect(await ids('--account', 'dead', '--active')).toEqual(['dead-1'])
    expect(await ids('--search', 'grüße')).toEqual(['good'])
    expect(await ids('--until', '1h')).toEqual([])
    expect(await ids('--since', '1h', '--all')).toHaveLength(13)
    const page = await world.json(['acme', 'messages', 'list', '--limit', '2'])
    expect(page.messages).toHaveLength(2)
    expect(page.next_cursor).toMatch(/^\d+$/)
    expect((await world.run(['acme', 'messages', 'list', '--limit', '2'])).out).toContain('There are more: --all')
  })

  it('over all tenants it says whose each message is', async () => {
    const { out } = await world.run(['messages', 'list', '--search', 'doubt'])
    expect(out).toMatch(/^doubt +in_doubt +acme\/held /m)
    expect(out).toMatch(/^stopped-doubt-2 +in_doubt +ops\/main /m)
    expect((await world.json(['messages', 'show', 'good'])).tenant_id).toBe('acme')
  })

  it('CSV has all of them, and no cell is a formula', async () => {
    const { out } = await world.run(['acme', 'messages', 'list', '--csv', '--all'])
    const lines = out.trimEnd().split('\r\n')
    expect(lines).toHaveLength(14)
    expect(lines[0]).toMatch(/^id,tenant_id,account_id,status,/)
    expect(out).toContain("'=1+1,acme,main,error")
    expect(out).toMatch(/^good,acme,main,sent,medium,sender@example\.com,"one@example\.net, two@example\.net",three@/m)
  })

  it('JSON lines are a message each', async () => {
    const { out } = await world.run(['acme', 'messages', 'list', '--jsonl', '--all'])
    const messages = out
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(messages.map(each => each.id)).toContain('narrow-2')
    expect(messages).toHaveLength(13)
  })

  it('show --json is what the API answers', async () => {
    const shown = await world.json(['acme', 'messages', 'show', 'half'])
    expect(shown).toMatchObject({ ok: true, id: 'half', status: 'sent', waiting_for: null })
    if (state === 'running') expect(shown).toEqual(await world.service.message('half', 'acme'))
  })

  it('show tells at once why a message is where it is, and what to do', async () => {
    expect(await story('grey')).toMatch(
      /state +deferred, waits: retry\nwhy +Attempt 1 failed .*451 4\.7\.1 Greylisted\nnext try +\d{4}-.*, in \d+ min/,
    )
    expect(await story('later')).toMatch(
      /waits: schedule\nwhy +Its deferred_ts has not come yet\.\nnext try .*in (23 h|1 d)/,
    )
    expect(await story('winter-1')).toMatch(
      /waits: suspension\nwhy +Its batch is suspended\.\n[\s\S]*to do +mail-proxy shop acme activate --batch winter\n/,
    )
    expect(await story('dead-1')).toMatch(
      /waits: paused account\nwhy +Its account is paused because its server refuses it: .*\npaused +since .* probes? so far/,
    )
    expect(await story('night-1')).toMatch(
      /waits: rule\nwhy +A sending rule .*\nrule +rule \d+ "Later": every day, \d+-\d+( over midnight)? \(UTC\), every 1 min\nnext try/,
    )
    expect(await story('narrow-2')).toMatch(/waits: limit\nwhy +A limit .*\nlimit +1 an hour through its account\n/)
    expect(await story('doubt')).toMatch(
      /state +in_doubt\nwhy +The server may have taken it.*\n[\s\S]*to do +mail-proxy shop acme messages release doubt, or discard doubt\n/,
    )
    expect(await story('bad')).toMatch(
      /state +error\nwhy +.*No such user.* \(550\)\nto do +mail-proxy shop acme messages retry bad\n/,
    )
    expect(await story('=1+1')).toMatch(/to do +mail-proxy shop acme messages retry =1\+1\n/)
    expect(await story("it's 1")).toMatch(/to do +mail-proxy shop acme messages retry 'it'\\''s 1'\n/)
    expect(await story('good')).toMatch(/state +sent\nwhy +the server accepted it for every recipient\n/)
  })

  it('show tells what was said of each recipient, each attempt, and what was reported', async () => {
    const half = await story('half')
    expect(half).toMatch(/why +accepted for 1 recipient, refused for 1\n/)
    expect(half).toMatch(/^one@example\.net +accepted +250 /m)
    expect(half).toMatch(/^unknown@example\.net +refused +550 5\.1\.1 No such user$/m)
    expect(half).toMatch(
      /^1 {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, took \d\.\d\d s, 127\.0\.0\.1\S*\n {3}250 .*\n {3}unknown@example\.net: 550 5\.1\.1 No such user$/m,
    )
    expect(half).toMatch(/reports +none: its tenant has no endpoint/)
    expect(half).toMatch(/\nHistory\nWHEN +WHAT +REPORTED +WORDS\n\d{4}-.* sent /)
    expect(await story('good')).toMatch(/^cc +three@example\.net$/m)
  })

  it('a message of an instance that sends nothing says so', async () => {
    const told = /but +shop does not run: nothing is sent/
    if (state === 'stopped') expect(await story('grey')).toMatch(told)
    else expect(await story('grey')).not.toMatch(told)
  })

  it('an id that is not there is one line and exit 1', async () => {
    expect(await world.run(['acme', 'messages', 'show', 'nope'])).toEqual({
      code: 1,
      out: '',
      err: "Error: Message 'nope' not found\n",
    })
  })

  it('cancel, retry and delete tell of each id, and exit 1 when one was refused', async () => {
    const [waits, sent] = [`${state}-waits`, `${state}-sent`]
    const { code, out } = await world.run(['ops', 'messages', 'cancel', waits, sent, 'nope', waits])
    expect(code).toBe(1)
    expect(
      out
        .trimEnd()
        .split('\n')
        .map(line => line.split(/ {2,}/)),
    ).toEqual([
      [waits, 'cancelled: now cancelled'],
      [sent, 'only a waiting message can be cancelled'],
      ['nope', "Message 'nope' not found"],
    ])
    expect(await world.json(['ops', 'messages', 'retry', waits])).toEqual({
      messages: [{ id: waits, ok: true, result: 'tried again: now deferred' }],
    })
    const asked = ['ops', 'messages', 'delete', waits, 'nope']
    expect(await world.run(asked)).toEqual({ code: 2, out: '', err: 'Error: this needs a yes: add --yes\n' })
    const gone = await world.run([...asked, '--yes'])
    expect(gone.code).toBe(1)
    expect(gone.out).toMatch(/^\S+-waits +deleted\nnope +Message 'nope' not found\n$/)
    expect((await world.run(['ops', 'messages', 'show', waits])).code).toBe(1)
  })

  it('release and discard decide a doubt', async () => {
    const [first, second] = [`${state}-doubt-1`, `${state}-doubt-2`]
    const refused = await world.run(['ops', 'messages', 'discard', `${state}-sent`])
    expect(refused).toMatchObject({ code: 1, out: `${state}-sent  only a message held in doubt can be discarded\n` })
    expect((await world.run(['ops', 'messages', 'discard', first])).code).toBe(0)
    expect((await world.json(['ops', 'messages', 'show', first])).code).toBe('in_doubt_discarded')
    const released = await world.json(['ops', 'messages', 'release', second])
    expect(released.messages).toEqual([
      { id: second, ok: true, result: expect.stringMatching(/^released: now (pending|sending|sent)$/) },
    ])
  })
})

it('wrong words are exit 2 and name the flag', async () => {
  for (const argv of [
    ['--limit', '0'],
    ['--status', 'lost'],
    ['--since', 'yesterday'],
    ['--csv', '--json'],
  ]) {
    const { code, err, out } = await world.run(['acme', 'messages', 'list', ...argv])
    expect([argv, code, out]).toEqual([argv, 2, ''])
    expect(err).toContain(argv[0])
  }
})

it('an empty list says how to send a first message', async () => {
  const { out } = await world.run(['default', 'messages', 'list'])
  expect(out).toBe('no message matches; `mail-proxy shop default messages send <file.eml>` sends one\n')
})
