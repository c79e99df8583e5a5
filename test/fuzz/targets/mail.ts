/** Addresses, messages and mails: from a client's JSON to the octets that a recipient reads. */
import PostalMime from 'postal-mime'
import { readEml } from '../../../src/cli/commands/messages/read-eml.js'
import { CliError } from '../../../src/cli/errors.js'
import { MailProxyError } from '../../../src/client/error.js'
import { customHeaders, headerLines } from '../../../src/client/nodemailer/header-lines.js'
import { InvalidJson, parseJson } from '../../../src/http/parse-json.js'
import type { Content } from '../../../src/messages/message.js'
import { parseMessage } from '../../../src/messages/parse.js'
import { parseAddress, parseAddressList, parseReversePath } from '../../../src/mime/address.js'
import { withLinks } from '../../../src/mime/link-list.js'
import { renderMail } from '../../../src/mime/render.js'
import { fieldNamesOf, OWN_FIELDS, octetsOf, problemOfMail } from '../../support/well-formed-mail.js'
import { check, FIELD, type FuzzTarget, fieldsOf, stated } from '../target.js'

const HEADER_WORDS = [
  '\r\n',
  '\r',
  '\n',
  '\r\n ',
  '\0',
  '\t',
  '=?utf-8?Q?',
  '=?utf-8?B?',
  '?=',
  ': ',
  'é',
  '日本',
  '\u2028',
  '\u202e',
  '\ufeff',
  '😀',
  '\x85',
]
const ADDRESS_WORDS = [
  '<',
  '>',
  '"',
  '\\',
  ',',
  '@',
  '.',
  '[127.0.0.1]',
  '[IPv6:::1]',
  'xn--',
  'ü',
  '(',
  ')',
  ';',
  ':',
  ' ',
  '%41',
  '。',
  '--',
  '_',
]

const addresses: FuzzTarget = {
  name: 'addresses',
  seeds: [
    'a@x.it',
    '"Rossi, M" <m@x.it>, b@y.it',
    'Ada <"a b"@x.it>',
    'c@[192.0.2.1]',
    'josé@münchen.de',
    '<>',
    'a:b@x.it;',
    '=?utf-8?Q?A?= <a@x.it>',
  ],
  words: [...ADDRESS_WORDS, ...HEADER_WORDS],
  run(octets) {
    const text = octets.toString()
    parseReversePath(text)
    const list = parseAddressList(text)
    if (!list.ok) return check(list.problem.length > 0 && list.problem.length < 300, 'no problem is told')
    for (const { address, header, name } of list.addresses) {
      const at = address.lastIndexOf('@')
      const [local, domain] = [address.slice(0, at), address.slice(at + 1)]
      check(/^("[^<>\p{Cc}]+"|[^\s<>"@,;:()[\]\\\p{Cc}]+)$/u.test(local), 'no local part', local)
      check(/^(\[[0-9A-Za-z:.]+\]|[^\s<>"@,;:()[\]\\\p{Cc}]+)$/u.test(domain), 'no domain', domain)
      check(Buffer.byteLength(local) <= 64 && Buffer.byteLength(address) <= 254, 'too long', address)
      check(!/\p{Cc}|\p{Cs}/u.test(header), 'a control character', header)
      const again = parseAddress(header)
      check(again.ok, 'does not read back', header)
      check(
        again.address.address === address && again.address.name === name && again.address.header === header,
        'reads back as another',
        header,
        again.address,
      )
    }
  },
}

const context = { defaultPriority: 2, strict: false, isVolume: (name: string) => name === 'vol' } as const

const usual = { id: 'm1', from: 'Ada <a@x.it>', to: ['b@y.it'], subject: 'Hi' }

const messages: FuzzTarget = {
  name: 'messages',
  seeds: [
    JSON.stringify({ messages: [usual] }),
    JSON.stringify({
      ...usual,
      cc: 'c@y.it, "D" <d@y.it>',
      bcc: [],
      reply_to: 'r@x.it',
      return_path: '<>',
      body_text: 'é\r\n.\r\n',
      body_html: '<p>',
      headers: { 'X-A': 'b', Date: 'Thu, 1 Jan 1970 00:00:00 +0000', Cc: 'c@x.it', 'Message-ID': '<x@y>' },
    }),
    JSON.stringify({
      ...usual,
      attachments: [
        {
          filename: 'a_{MD5:9e107d9d372bb6826bd81d3542a419d6}.txt',
          storage_path: 'base64:aGk=',
          mime_type: 'text/calendar; method=REQUEST',
          content_id: '<i@x>',
        },
        { filename: 'b', storage_path: 'vol:a/b', auth: { method: 'bearer', token: 't' } },
      ],
    }),
    JSON.stringify({
      ...usual,
      priority: 'high',
      deferred_ts: '1.5',
      expires_ts: 1e9,
      batch_code: 'b',
      content_type: 'text/html; x',
      body: 'x',
      message_id: 'a@b',
      tenant_id: 't',
      account_id: 'a',
    }),
  ],
  words: [
    ...'id from from_addr to cc bcc reply_to return_path subject body content_type body_text body_html headers message_id attachments priority deferred_ts expires_ts batch_code filename storage_path fetch_mode mime_type content_md5 content_id auth method token user password keep_conversation tenant_id account_id __proto__ constructor toString hasOwnProperty'
      .split(' ')
      .map(name => `,"${name}":`),
    '\\u0000',
    '\\ud800',
    '\\udc00',
    '\\r\\n',
    '\\u0085',
    '\\u2028',
    '1e999',
    '-0',
    '1e308',
    '9007199254740993',
    '0.1',
    'null',
    'true',
    '[]',
    '{}',
    '[[[[',
    '"',
    '\\',
    '{"',
    '"}',
    'base64:',
    'http://',
    '{MD5:',
    '"none"',
    '"bearer"',
    '"basic"',
    '"é"',
    '\ufeff',
    ...ADDRESS_WORDS,
  ],
  async run(octets) {
    const read = await stated([InvalidJson], () => parseJson(octets))
    if (!read.ok) return
    const body = read.value as { messages?: unknown }
    const all = Array.isArray(body?.messages) ? (body.messages as unknown[]) : [body]
    for (const raw of all) {
      const result = parseMessage(raw, context)
      if (!result.ok) {
        check(/^[a-z_]+$/.test(result.code) && result.reason.length > 0, 'no reason')
        continue
      }
      const { message } = result
      check(message.envelope.to.length > 0, 'nobody to send to')
      check(
        JSON.stringify(JSON.parse(JSON.stringify(message.content))) === JSON.stringify(message.content),
        'is stored as another',
      )
      const mail = renderMail(
        { id: message.id, content: message.content, envelope: message.envelope, createdAt: 0, tenantId: 's' },
        [],
      )
      const problem = problemOfMail(await octetsOf(mail), mail.needsSmtpUtf8)
      check(problem === null, 'the mail', problem)
    }
  },
}

const mails: FuzzTarget = {
  name: 'mails',
  seeds: [
    [
      'Ada <a@x.it>',
      'b@y.it',
      'c@y.it',
      'r@x.it',
      'Hello',
      'X-A',
      'b',
      '<m@x.it>',
      'text',
      '<p>html</p>',
      'a.pdf',
      'application/pdf',
      'cid',
      'octets',
    ].join(FIELD),
    [
      '"R, S" <a@x.it>',
      '',
      '',
      '',
      'Perché la città è così bella, e perché no',
      'References',
      '<a@b> <c@d>',
      '',
      '.\r\n..',
      '',
      'fattura è.ics',
      'text/calendar; method=REQUEST; charset=utf-8',
      '',
      'BEGIN:VCALENDAR\r\n',
    ].join(FIELD),
    [
      'a@x.it',
      'josé@x.it',
      '',
      '',
      '=?utf-8?Q?x?= y',
      'Date',
      'Thu, 1 Jan 1970 00:00:00 +0000',
      'x',
      '',
      'x'.repeat(1_100),
      'x'.repeat(250),
      'message/rfc822',
      'i',
      'From: x\r\n\r\n',
    ].join(FIELD),
  ],
  words: [
    FIELD,
    ...HEADER_WORDS,
    ...ADDRESS_WORDS,
    '\r\n.\r\n',
    '--=_',
    '; boundary=x',
    'multipart/mixed',
    'a'.repeat(80),
    ' '.repeat(80),
    'cid:',
    '{MD5:',
    "utf-8''",
    '%',
    '*0*=',
  ],
  async run(octets) {
    const [from, to, cc, replyTo, subject, name, value, messageId, text, html, filename, mimeType, contentId, file] =
      fieldsOf(octets, 14) as [
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
      ]
    const content: Content = {
      ...{
        from,
        to: to === '' ? [] : [to],
        cc: [cc],
        replyTo,
        subject,
        contentType: 'plain',
        headers: { [name]: value },
      },
      ...{ messageId: messageId || undefined, bodyText: text, bodyHtml: html || undefined },
    }
    const attachments =
      filename === ''
        ? []
        : [{ filename, mimeType: mimeType || undefined, contentId: contentId || undefined, content: Buffer.from(file) }]
    const input = {
      id: subject,
      content,
      envelope: { from: 'a@x.it', to: ['b@y.it'] },
      createdAt: 0,
      tenantId: 's',
    }
    if (!parseAddress(from).ok) {
      let refused = ''
      try {
        renderMail(input, attachments)
      } catch (error) {
        refused = String(error)
      }
      return check(refused.includes('the From address cannot be rendered'), 'a mail from nobody', refused)
    }
    const mail = renderMail(input, attachments)
    const rendered = await octetsOf(mail)
    const problem = problemOfMail(rendered, mail.needsSmtpUtf8)
    check(problem === null, 'the mail', problem)
    const names = fieldNamesOf(rendered)
    const known = [...OWN_FIELDS, name.toLowerCase()]
    check(
      names.every(each => known.includes(each) && each !== 'bcc'),
      'a field that nobody asked for',
      names,
    )
    check(new Set(names).size === names.length, 'a field twice', names)
    const read = await PostalMime.parse(rendered)
    check(read.attachments.length === attachments.length, 'attachments', read.attachments.length)
    for (const [i, each] of read.attachments.entries()) {
      const { content } = attachments[i]!
      // Of a calendar this reader makes text, by the charset that its type names and with line ends of its own.
      if (each.mimeType === 'text/calendar') check(rendered.includes(inLines(content)), 'another calendar')
      else check(Buffer.from(each.content as ArrayBuffer).equals(content), 'another attachment')
    }
    check(plain(read.text) === plain(text), 'another text', read.text, text)
    if (html !== '') check(plain(read.html) === plain(html), 'another html', read.html, html)
  },
}

/** In base64, as it stands between the fields of its part and the delimiter; of nothing there is no line. */
const inLines = (content: Buffer) => `\r\n\r\n${content.toString('base64').replace(/.{1,76}/g, '$&\r\n')}--`

/** Readers differ in what they do with the last line ending, and with octets that no text has. */
const plain = (text = '') =>
  text
    .replace(/\r\n?|\n/g, '\n')
    .replace(/[\n\0\ufeff]+/g, '\n')
    .replace(/^\n|\n$/g, '')

const eml: FuzzTarget = {
  name: 'eml',
  seeds: [
    'From: Ada <a@x.it>\r\nTo: b@y.it, g: c@y.it, d@y.it;\r\nCc: =?utf-8?Q?J=C3=B6?= <j@y.it>\r\nSubject: =?iso-8859-1?Q?=E9?=\r\n =?utf-8?B?w6k=?=\r\nMessage-ID: <x@y>\r\nReceived: x\r\nX-A: b\r\n\r\nHello\r\n',
    'From: a@x.it\nTo: b@y.it\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\nContent-Type: text/plain; charset=utf-8; format=flowed\nContent-Transfer-Encoding: quoted-printable\n\na=C3=A9=\nb\n--c\nContent-Type: text/html\n\n<img src="cid:i">\n--c--\n--b\nContent-Type: image/png; name="=?utf-8?Q?=C3=A9.png?="\nContent-ID: <i>\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename*0*=utf-8\'\'%C3; filename*1*=%A9\n\naGk=\n--b\nContent-Type: message/rfc822\n\nFrom: z@x.it\n\nhi\n--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n--b--\n',
  ],
  words: [
    ...HEADER_WORDS,
    ...ADDRESS_WORDS,
    '--b',
    '--b--',
    'Content-Type: ',
    'Content-Transfer-Encoding: ',
    'Content-Disposition: ',
    'Content-ID: ',
    'base64',
    'quoted-printable',
    '7bit',
    'multipart/related',
    'message/rfc822',
    'text/html',
    'boundary=',
    'charset=utf-16',
    'charset=iso-2022-jp',
    'constructor',
    '__proto__',
    '=',
    '=\n',
    '&#0;',
    '<',
    'From: ',
    'Bcc: ',
    'undisclosed-recipients:;',
  ],
  async run(octets) {
    const read = await stated([CliError], () => readEml(octets, 'f.eml'))
    if (!read.ok) return
    const { fields, leftOut, messageId } = read.value
    check(!/[\s\p{Cc}]/u.test(messageId ?? ''), 'no message id', messageId)
    check(
      leftOut.every(each => typeof each === 'string'),
      'left out',
    )
    // As the API will have it.
    const sent = JSON.parse(JSON.stringify({ ...fields, id: 'm1' }))
    const result = parseMessage(sent, context)
    if (!result.ok) return check(result.reason.length > 0, 'no reason')
    const { message } = result
    const mail = renderMail(
      { ...message, createdAt: 0, tenantId: 's' },
      (message.content.attachments ?? []).map(each => ({ ...each, content: Buffer.from(each.storagePath, 'base64') })),
    )
    const problem = problemOfMail(await octetsOf(mail), mail.needsSmtpUtf8)
    check(problem === null, 'the mail', problem)
  },
}

const links: FuzzTarget = {
  name: 'links',
  seeds: [
    ['a.pdf', '<html><body><p>x</p></body></html>', 'text'].join(FIELD),
    ['"><img>', '<!-- </body> -->x</HTML >', ''].join(FIELD),
  ],
  words: [FIELD, '<!--', '-->', '</body>', '</html>', '</BODY ', '<body>', '<', '>', '"', '&', '\u202e', '\r', '\n'],
  run(octets) {
    const [filename, html, text] = fieldsOf(octets, 3) as [string, string, string]
    const link = { filename, sizeBytes: 1, url: 'https://f.test/x?a=1&b=2', until: 0 }
    const made = withLinks(
      { from: 'a@x.it', to: [], subject: '', contentType: 'plain', bodyHtml: html, bodyText: text },
      [link],
    )
    const start = made.bodyHtml!.indexOf('\n<div style="margin:24px')
    const end = made.bodyHtml!.lastIndexOf('</ul>\n</div>\n') + '</ul>\n</div>\n'.length
    check(made.bodyText!.startsWith(text), 'the text was changed')
    if (!html.includes('margin:24px') && !html.includes('</ul>')) {
      check(made.bodyHtml!.slice(0, start) + made.bodyHtml!.slice(end) === html, 'the html was changed')
      const list = made.bodyHtml!.slice(start, end)
      check(
        !/[<>"']/.test(list.replace(/<\/?(div|p|ul|li|a|span)( (style|href)="[^"<>]*")*>/g, '')),
        'markup of a name',
        list,
      )
    }
  },
}

const nodemailerHeader: FuzzTarget = {
  name: 'nodemailer-header',
  seeds: ['From: a@x.it\r\nX-A: b\r\n c\r\nList-Help: <x>\r\nList-Help: <y>\r\n', 'X: 1\nX: 2\n__proto__: 3'],
  words: ['\r\n', '\n', '\r\n ', ':', 'Content-', 'List-', '__proto__', 'constructor', '\0'],
  async run(octets) {
    const custom = await stated([MailProxyError], () => customHeaders(headerLines(octets.toString())))
    if (custom.ok)
      for (const [name, value] of Object.entries(custom.value ?? {}))
        check(name !== '' && !/[\n]/.test(value), 'no header', name, value)
  },
}

export const mailTargets = [addresses, messages, mails, eml, links, nodemailerHeader]
