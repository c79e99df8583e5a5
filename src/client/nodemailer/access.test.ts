/** Contents that an application has forbidden to be read from its files or from URLs, in whatever version of Nodemailer. */
import nodemailer from 'nodemailer'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type HttpSink, startHttpSink } from '../../../test/support/http-sink.js'
import { forbiddenSource } from './access.js'
import { mailProxyTransport } from './index.js'
import type { MailData } from './mail.js'

const PATH = import.meta.filename ?? 'src/client/nodemailer/access.test.ts'
const file = { path: PATH }

it.each<[string, object, string]>([
  ['an attachment', { attachments: [{ content: 'a' }, { filename: 'x', ...file }] }, 'attachments[1]'],
  ['an attachment whose content says so', { attachments: [{ content: file }] }, 'attachments[0]'],
  ['the text', { text: file }, 'text'],
  ['the html', { html: { content: file } }, 'html'],
  ['an event', { icalEvent: file }, 'icalEvent'],
])('a path of %s is forbidden without file access', (_, data, field) => {
  const rule = 'disableFileAccess'
  expect(forbiddenSource({ ...data, disableFileAccess: true } as MailData)).toEqual({ field, rule })
  expect(forbiddenSource({ ...data, disableUrlAccess: true } as MailData)).toBeNull()
  expect(forbiddenSource(data as MailData)).toBeNull()
})

it.each([{ href: 'https://example.org/x' }, { path: 'HTTP://example.org/x' }])('%j is a URL', place => {
  const rule = 'disableUrlAccess'
  expect(forbiddenSource({ html: place, disableUrlAccess: true } as MailData)).toEqual({ field: 'html', rule })
  expect(forbiddenSource({ html: place, disableFileAccess: true } as MailData)).toBeNull()
})

it.each<[string, object]>([
  ['texts and Buffers', { text: 'a', html: Buffer.from('b'), attachments: [{ content: 'c' }] }],
  ['a data URI', { attachments: [{ path: 'data:text/plain,x' }] }],
  ['an open stream', { attachments: [{ content: { path: PATH, pipe() {} } }] }],
  ['a path that a content stands before', { attachments: [{ content: 'x', path: PATH }] }],
  ['nothing', {}],
])('%s may always be', (_, data) => {
  expect(forbiddenSource({ ...data, disableFileAccess: true, disableUrlAccess: true } as MailData)).toBeNull()
})

describe('a transporter whose options forbid files', () => {
  let sink: HttpSink
  beforeEach(async () => {
    sink = await startHttpSink(() => ({ body: { ok: true, queued: 1, rejected: [] } }))
  })
  afterEach(() => sink.close())

  const sendWith = (options: object) =>
    nodemailer.createTransport(mailProxyTransport({ url: sink.url, token: 't', ...options })).sendMail({
      from: 'a@example.org',
      to: 'b@example.net',
      subject: 's',
      attachments: [{ filename: 'x', path: PATH }],
      disableFileAccess: false,
    })

  it('sends none, and without the option it would', async () => {
    await expect(sendWith({ disableFileAccess: true })).rejects.toMatchObject({
      code: 'unsupported_field',
      details: { field: 'attachments[0]' },
    })
    expect(sink.requests).toEqual([])
    await sendWith({})
    expect(sink.requests).toHaveLength(1)
  })
})
