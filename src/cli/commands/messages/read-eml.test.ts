import { expect, it } from 'vitest'
import { readEml } from './read-eml.js'

const attached = (type: string, content: string) =>
  Buffer.from(
    `From: a@x.it\r\nTo: b@y.it\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHi\r\n--b\r\n` +
      `Content-Type: ${type}\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n` +
      `${Buffer.from(content).toString('base64')}\r\n--b--\r\n`,
  )

async function attachmentOf(octets: Buffer) {
  const { fields } = await readEml(octets, 'f.eml')
  const [first] = fields.attachments as { filename: string; storage_path: string }[]
  return { filename: first!.filename, content: Buffer.from(first!.storage_path, 'base64').toString() }
}

it('a type that is called like a property of objects gives no name', async () => {
  expect(await attachmentOf(attached('constructor', 'x'))).toMatchObject({ filename: 'attachment-1' })
})

it('the lines of a calendar end as they did', async () => {
  const calendar = 'BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n'
  expect(await attachmentOf(attached('text/calendar; method=REQUEST', calendar))).toEqual({
    filename: 'attachment-1.ics',
    content: calendar,
  })
})
