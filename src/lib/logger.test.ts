import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLogger, type LoggerOptions } from './logger.js'

function logged(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = []
  const at = new Date(2025, 0, 23, 10, 15, 32, 456).getTime()
  const log = createLogger({
    level: 'info',
    format: 'text',
    now: () => at,
    write: line => lines.push(line),
    ...options,
  })
  return { log, lines }
}

describe('text', () => {
  it('is local time, the level in eight columns, the message', () => {
    const { log, lines } = logged()
    log.info('Message msg-123 sent via primary-smtp', { account_id: 'primary-smtp' })
    log.warning('slow')
    expect(lines).toEqual([
      '2025-01-23 10:15:32,456 INFO     Message msg-123 sent via primary-smtp\n',
      '2025-01-23 10:15:32,456 WARNING  slow\n',
    ])
  })

  it('shows a forged line as what it is', () => {
    const { log, lines } = logged()
    log.error('Message a\n2025-01-23 10:15:32,456 INFO     forged\u001b[2J\u202e')
    expect(lines[0]).toBe(
      '2025-01-23 10:15:32,456 ERROR    Message a\\n2025-01-23 10:15:32,456 INFO     forged\\u001b[2J\\u202e\n',
    )
  })
})

describe('json', () => {
  it('is one object a line with the fields beside the message', () => {
    const { log, lines } = logged({ format: 'json' })
    log.info('Message m sent', { account_id: 'main', attempts: 2, pooled: true, reply: null, absent: undefined })
    const entry = JSON.parse(lines[0]!)
    expect(entry).toEqual({
      timestamp: new Date(2025, 0, 23, 10, 15, 32, 456).toISOString(),
      level: 'INFO',
      message: 'Message m sent',
      account_id: 'main',
      attempts: 2,
      pooled: true,
      reply: null,
    })
    expect(Object.keys(entry).slice(0, 3)).toEqual(['timestamp', 'level', 'message'])
  })

  it('lets no field take the place of time, level or message', () => {
    const { log, lines } = logged({ format: 'json' })
    log.info('true', { level: 'ERROR', message: 'false', timestamp: 'never' })
    expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'INFO', message: 'true' })
  })
})

it('never writes the value of a field whose name tells of a secret', () => {
  const names = ['password', 'imap_password', 'api_token', 'clientSecret', 'API_KEY', 'authorization']
  for (const format of ['text', 'json'] as const) {
    const { log, lines } = logged({ format })
    log.info('made', Object.fromEntries(names.map(name => [name, 'hunter2'])))
    expect(lines.join('')).not.toContain('hunter2')
  }
})

it('writes one line for any message and fields, and cuts what is endless', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.dictionary(fc.string(), fc.string({ unit: 'binary' })),
      (text, fields) => {
        for (const format of ['text', 'json'] as const) {
          const { log, lines } = logged({ format })
          log.info(text, fields)
          expect(lines).toHaveLength(1)
          expect(lines[0]!.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
          if (format === 'json') JSON.parse(lines[0]!)
        }
      },
    ),
  )
  const { log, lines } = logged()
  log.info('x'.repeat(1_000_000))
  expect(lines[0]!.length).toBeLessThan(10_000)
})

it('leaves out what is below the level', () => {
  const { log, lines } = logged({ level: 'warning' })
  log.debug('a')
  log.info('b')
  log.warning('c')
  log.error('d')
  expect(lines).toHaveLength(2)
})
