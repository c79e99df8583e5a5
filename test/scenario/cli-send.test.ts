/** `messages send`: what arrives at the server is what stood in the mail file, and --wait tells how it ended. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import PostalMime, { type Email } from 'postal-mime'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type CliWorld, openCliWorld } from '../support/cli-world.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

let world: CliWorld
let sink: SmtpSink
beforeAll(async () => {
  world = await openCliWorld()
  sink = await startSink()
  const service = await world.start({ GMP_MAX_RETRIES: '0' })
  await service.call('POST', '/tenant', { id: 'acme' })
  await service.account(sink, { tenant_id: 'acme' })
  await service.account(sink, { tenant_id: 'acme', id: 'second' })
  await service.call('POST', '/account', { tenant_id: 'acme', id: 'main', is_default: true })
})
afterAll(async () => {
  await world.close()
  await sink.close()
})
afterEach(() => sink.behave({}))

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
const RICH = [
  'Received: from old.example by new.example; Mon, 1 Jan 2024 10:00:01 +0100',
  'Return-Path: <bounces@example.org>',
  'DKIM-Signature: v=1; a=rsa-sha256; d=example.org; b=AAAA',
  'From: =?utf-8?q?J=C3=B6rg_=22the_boss=22_Gro=C3=9F?= <joerg@example.org>',
  'To: "Doe, John" <john@example.net>, Team: ann@example.net, bob@example.net;',
  'Cc: carol@example.net',
  'Bcc: secret@example.net',
  'Reply-To: answers@example.org',
  'Subject: =?utf-8?b?R3LDvMOfZQ==?= from\r\n =?iso-8859-1?q?K=F6ln?=',
  'Date: Mon, 1 Jan 2024 10:00:00 +0100',
  'Message-ID: <rich-1@example.org>',
  'In-Reply-To: <before@example.org>',
  'References: <first@example.org>\r\n\t<before@example.org>',
  'X-Campaign: =?utf-8?q?fr=C3=BChling?=',
  'List-Unsubscribe: <https://example.org/u?id=1>',
  'MIME-Version: 1.0',
  'Content-Type: multipart/mixed; boundary="m"',
  '',
  '--m',
  'Content-Type: multipart/alternative; boundary="a"',
  '',
  '--a',
  'Content-Type: text/plain; charset=iso-8859-1',
  'Content-Transfer-Encoding: quoted-printable',
  '',
  'Gr=FC=DFe, and a line that is soft=\r\n broken.',
  '.leading dot',
  '--a',
  'Content-Type: multipart/related; boundary="r"',
  '',
  '--r',
  'Content-Type: text/html; charset=utf-8',
  'Content-Transfer-Encoding: base64',
  '',
  Buffer.from('<p>Grüße 🎉</p><img src="cid:logo@example.org">').toString('base64'),
  '--r',
  'Content-Type: image/png; name="logo.png"',
  'Content-Disposition: inline; filename="logo.png"',
  'Content-ID: <logo@example.org>',
  'Content-Transfer-Encoding: base64',
  '',
  PNG,
  '--r--',
  '--a--',
  '--m',
  'Content-Type: application/pdf',
  "Content-Disposition: attachment; filename*=utf-8''%C3%9Cbersicht%202027.pdf",
  'Content-Transfer-Encoding: base64',
  'Content-ID: <not-shown@example.org>',
  '',
  Buffer.from('%PDF-1.4 \x00\xff', 'latin1').toString('base64'),
  '--m',
  'Content-Type: message/rfc822',
  '',
  'From: inner@example.org\r\nSubject: inside\r\n\r\nInner body',
  '--m--',
  '',
].join('\r\n')

const file = (name: string, text: string | Buffer) => {
  const path = join(world.dir, name)
  writeFileSync(path, text)
  return path
}
const send = (...argv: string[]) => world.run(['acme', 'messages', 'send', ...argv])
const arrived = async (n: number): Promise<{ mail: Email; to: readonly string[]; raw: string }> => {
  await sink.waitFor(n)
  const { raw, to } = sink.messages[n - 1]!
  return {
    mail: await PostalMime.parse(raw, { forceRfc822Attachments: true, attachmentEncoding: 'base64' }),
    to,
    raw: raw.toString(),
  }
}
const simple = (id: string, to = 'one@example.net') =>
  `From: me@example.org\nTo: ${to}\nSubject: Simple\nMessage-ID: <${id}@example.org>\n\nJust text.\n`

describe('what stands in the file arrives', () => {
  let answer: Awaited<ReturnType<typeof send>>
  let got: Awaited<ReturnType<typeof arrived>>
  let given: Email
  beforeAll(async () => {
    given = await PostalMime.parse(RICH, { forceRfc822Attachments: true, attachmentEncoding: 'base64' })
    answer = await send(file('rich.eml', RICH))
    got = await arrived(1)
  })

  it('under its Message-ID, and to everybody of To, Cc and Bcc', async () => {
    expect(answer).toMatchObject({ code: 0, out: 'queued as rich-1@example.org\n' })
    expect(got.to).toEqual([
      'john@example.net',
      'ann@example.net',
      'bob@example.net',
      'carol@example.net',
      'secret@example.net',
    ])
    expect(got.raw).not.toContain('secret@example.net')
    expect(got.mail.messageId).toBe('<rich-1@example.org>')
  })

  it('with its header fields', () => {
    const { mail } = got
    expect(mail.from).toEqual(given.from)
    expect(mail.from?.name).toBe('Jörg "the boss" Groß')
    expect(mail.cc).toEqual(given.cc)
    expect(mail.replyTo).toEqual(given.replyTo)
    expect(mail.subject).toBe('Grüße from Köln')
    expect(mail.date).toBe(given.date)
    expect(mail.inReplyTo).toBe('<before@example.org>')
    expect(mail.references?.split(/\s+/)).toEqual(['<first@example.org>', '<before@example.org>'])
    expect(got.raw).toContain('List-Unsubscribe: <https://example.org/u?id=1>')
    expect(mail.headers.find(each => each.key === 'x-campaign')).toBeDefined()
  })

  it('without the traces of its old way, which are named', () => {
    expect(answer.err).toBe('Left out of its header: Received, Return-Path, DKIM-Signature\n')
    expect(got.mail.headers.map(each => each.key)).not.toContain('dkim-signature')
  })

  it('with both bodies', () => {
    expect(got.mail.text?.trim()).toBe(given.text?.trim())
    expect(got.mail.text).toContain('Grüße, and a line that is soft broken.')
    expect(got.mail.text).toContain('\n.leading dot')
    expect(got.mail.html?.trim()).toBe(given.html?.trim())
  })

  it('with its attachments, its inline image and the mail inside it', () => {
    const told = ({ attachments }: Email) =>
      attachments.map(({ filename, mimeType, content, related }) => ({ filename, mimeType, content, related }))
    // A message/rfc822 part may not be in base64 (RFC 2046 5.2.1), so a mail inside goes as a file.
    const expected = told(given).map(each =>
      each.filename === null ? { ...each, filename: 'attachment-3.eml', mimeType: 'application/octet-stream' } : each,
    )
    expect(told(got.mail)).toEqual(expected)
    expect(got.mail.attachments.map(each => each.filename)).toEqual([
      'logo.png',
      'Übersicht 2027.pdf',
      'attachment-3.eml',
    ])
    expect(got.mail.attachments[0]).toMatchObject({
      contentId: '<logo@example.org>',
      disposition: 'inline',
      content: PNG,
    })
    expect(got.mail.attachments[1]).toMatchObject({ disposition: 'attachment' })
  })
})

describe('messages send', () => {
  it('the same file again is refused as sent, and goes once more under another id', async () => {
    const path = file('rich.eml', RICH)
    const again = await send(path)
    expect(again).toEqual({
      code: 1,
      out: '',
      err: 'Error: rich-1@example.org was not queued: already sent (already_sent); another --id sends it once more\n',
    })
    const before = sink.accepted
    expect(await world.json(['acme', 'messages', 'send', path, '--id', 'once-more', '--wait'])).toMatchObject({
      id: 'once-more',
      status: 'sent',
    })
    expect(sink.accepted).toBe(before + 1)
  })

  it('--to takes the place of all recipients; account, priority and batch are its own', async () => {
    const before = sink.accepted
    const { code } = await send(
      file('rich.eml', RICH),
      '--id',
      'to-me',
      '--to',
      'me@example.com',
      '--to',
      'you@example.com',
      '--account',
      'second',
      '--priority',
      'high',
      '--batch',
      'b1',
      '--wait',
    )
    expect(code).toBe(0)
    expect((await arrived(before + 1)).to).toEqual(['me@example.com', 'you@example.com'])
    const shown = await world.service.message('to-me', 'acme')
    expect(shown).toMatchObject({ account_id: 'second', priority: 1, batch_code: 'b1' })
  })

  it('takes the mail from standard input, and gives one without Message-ID a new id', async () => {
    const { code, out } = await world.run(['acme', 'messages', 'send', '-'], {
      stdin: 'From: me@example.org\nTo: one@example.net\n\nNo subject, no id.\n',
    })
    expect(code).toBe(0)
    expect(out).toMatch(/^queued as [0-9a-f-]{36}\n$/)
    const shown = await world.json(['acme', 'messages', 'show', out.slice('queued as '.length).trim()])
    expect(shown.subject).toBe('(no subject)')
  })

  it('--at puts it off', async () => {
    const { code } = await send(file('later.eml', simple('later')), '--at', '+2h')
    expect(code).toBe(0)
    const { deferred_ts: at, status } = await world.service.message('later@example.org', 'acme')
    expect(status).toBe('deferred')
    expect(at - Date.now() / 1000).toBeGreaterThan(7_100)
    expect((await send(file('later.eml', simple('later')), '--at', '2h')).err).toBe(
      'Error: --at is "2h", which is past: +2h is so long from now\n',
    )
  })

  it('--wait tells the end, and is exit 1 with the server’s words when it failed', async () => {
    sink.behave({ rcpt: () => '550 5.1.1 No such user' })
    const { code, out, err } = await send(file('bad.eml', simple('bad')), '--wait')
    expect(code).toBe(1)
    expect(out).toMatch(/^message +bad@example\.org\nstate +error\nwhy +550 5\.1\.1 No such user \(550\)\n/)
    expect(err).toBe('')
  })

  it('--wait shows a person how it goes on, and ends at --timeout or at a signal', async () => {
    sink.behave({ final: () => ({ silent: true }) })
    const watching = { terminal: { stderr: true } } as const
    const late = await world.run(
      ['acme', 'messages', 'send', file('slow.eml', simple('slow')), '--wait', '--timeout', '5'],
      watching,
    )
    expect(late.code).toBe(1)
    expect(late.err).toContain('sending: It is being sent right now.\n')
    expect(late.err).toContain('Error: slow@example.org has not ended after 5 s: sending')
    let interrupt: (name: 'SIGINT') => void = () => {}
    const path = file('slow-2.eml', simple('slow-2'))
    const watched = world.run(['acme', 'messages', 'send', path, '--wait'], {
      ...watching,
      onStart: signal => (interrupt = signal),
    })
    await world.service.until(
      'queued',
      async () => (await world.service.message('slow-2@example.org', 'acme')).status === 'sending',
    )
    interrupt('SIGINT')
    const broken = await watched
    expect(broken.code).toBe(130)
    expect(broken.err).toMatch(/Not watched any longer; slow-2@example\.org stays in the queue\n$/)
  })

  it('what is no mail, or has nobody to go to, is one line', async () => {
    expect((await send('/nowhere/mail.eml')).err).toBe('Error: /nowhere/mail.eml cannot be read (ENOENT)\n')
    const noise = file('noise.eml', Buffer.from([0, 255, 10, 13, 10, 1, 2, 3]))
    expect(await send(noise)).toEqual({ code: 1, out: '', err: `Error: ${noise} has no From: is it a mail?\n` })
    const nobody = file('nobody.eml', 'From: me@example.org\nTo: undisclosed-recipients:;\nSubject: x\n\nx\n')
    expect((await send(nobody)).err).toBe(`Error: ${nobody} has nobody in To: name who gets it with --to\n`)
    expect((await send(file('x.eml', simple('x')), '--priority', 'urgent')).code).toBe(2)
    expect((await send(file('x.eml', simple('x')), '--timeout', '5')).err).toBe('Error: --timeout needs --wait\n')
    expect((await send(file('x.eml', simple('x')), '--account', 'nope')).err).toMatch(
      /^Error: x@example\.org was not queued: .*\(account_not_found\)\n$/,
    )
  })

  it('on a stopped instance it is queued and goes out at the next start; --wait refuses before', async () => {
    const before = sink.accepted
    await world.stop()
    const path = file('offline.eml', simple('offline'))
    expect(await send(path, '--wait')).toEqual({
      code: 1,
      out: '',
      err: 'Error: shop does not run, so there is nothing to wait for; nothing was submitted\n',
    })
    const { code, out, err } = await send(path)
    expect([code, out]).toEqual([0, 'queued as offline@example.org\n'])
    expect(err).toContain('shop does not run: it goes out once `mail-proxy start shop` was given')
    await world.start({ GMP_MAX_RETRIES: '0' })
    await world.service.until(
      'sent',
      async () => (await world.service.message('offline@example.org', 'acme')).status === 'sent',
    )
    expect(sink.accepted).toBeGreaterThan(before)
  })
})
