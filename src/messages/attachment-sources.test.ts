import { describe, expect, it } from 'vitest'
import { judgeSources } from './attachment-sources.js'
import type { FetchMode } from './message.js'

const here = { baseDir: '/srv/files', baseUrl: null, hasEndpoint: false }
const judge = (fetchMode: FetchMode, storagePath: string, sources = here) =>
  judgeSources([{ filename: 'a', fetchMode, storagePath }], sources, new Set(['vol']))?.code ?? null

describe('where attachments come from', () => {
  it.each(['a/b.pdf', '/srv/files/a.pdf', 'a/../b', './a', '..a', 'a..', '/srv/files/a/../b', '/mnt/real/a'])(
    'the file %s may be there',
    path => expect(judge('filesystem', path)).toBeNull(),
  )

  it.each(['..', '../a', 'a/../../b', './../a', '/srv/files/../a', '/srv/files/a/../../../etc/passwd'])(
    'the file %s leads out',
    path => expect(judge('filesystem', path)).toBe('invalid_field'),
  )

  it('a global endpoint serves tenants without their own', () => {
    expect(judge('endpoint', 'x')).toBe('attachment_source_unavailable')
    expect(judge('endpoint', 'x', { ...here, hasEndpoint: true })).toBeNull()
    expect(judge('endpoint', 'x', { ...here, baseUrl: 'https://x.test' } as never)).toBeNull()
  })

  it('a long list of wrong volumes is told in short', () => {
    const attachments = Array.from({ length: 100 }, (_, i) => ({
      filename: 'a',
      fetchMode: 'volume' as const,
      storagePath: `none:${i}${'x'.repeat(3_000)}`,
    }))
    const { reason } = judgeSources(attachments, here, new Set())!
    expect(reason).toMatch(/^Invalid\/unauthorized storage volumes: none:0x.*, …$/)
    expect(reason.length).toBeLessThan(5_000)
  })
})
