import { expect, it } from 'vitest'
import { writeDown } from './write-down.js'

const reply = (code: number, text: string) => ({ code, enhanced: null, text })

it('of a long transaction keeps the beginning and the end, also behind the lines of a login', () => {
  for (const login of [[], ['S: 220 ready'], Array.from({ length: 260 }, (_, i) => `S: line ${i}`)]) {
    const lines: string[] = [...login]
    const tap = writeDown(lines, text => text)
    tap.said('MAIL FROM:<a@example.org>\r\n')
    for (let i = 0; i < 1_000; i++) tap.said(`RCPT TO:<u${i}@example.org>\r\n`)
    for (let i = 0; i < 1_000; i++) tap.received(reply(250, `u${i}`))
    tap.said('DATA\r\n')
    tap.received(reply(354, 'go'))
    tap.sent(10)
    tap.received(reply(250, 'queued as 7'))
    expect(lines).toHaveLength(200)
    expect(lines[0]).toBe(login[0] ?? 'C: MAIL FROM:<a@example.org>')
    expect(lines.filter(each => each === '…')).toHaveLength(1)
    expect(lines.slice(-5)).toEqual([
      'S: 250 u999',
      'C: DATA',
      'S: 354 go',
      'C: (content and final dot, 10 octets)',
      'S: 250 queued as 7',
    ])
  }
})

it('cuts what is longer than a line may be', () => {
  const lines: string[] = []
  writeDown(lines, text => text).received(reply(250, 'x'.repeat(1_000)))
  expect(lines[0]).toHaveLength(512)
})
