import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { followLinks } from './follow-links.js'

let dir: string
beforeAll(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'gmp-links-')))
  mkdirSync(join(dir, 'real'))
})
afterAll(() => rmSync(dir, { recursive: true }))

it('what is no link stays as it was given, whether it is there or not', () => {
  expect([followLinks('mail.db'), followLinks(join(dir, 'real'))]).toEqual(['mail.db', join(dir, 'real')])
})

it('a link, and a link to it, lead to the file, also before it is there', () => {
  const file = join(dir, 'real', 'mail.db')
  symlinkSync('real/mail.db', join(dir, 'link'))
  symlinkSync(join(dir, 'link'), join(dir, 'second'))
  expect([followLinks(join(dir, 'link')), followLinks(join(dir, 'second'))]).toEqual([file, file])
  writeFileSync(file, '')
  expect([followLinks(join(dir, 'link')), followLinks(join(dir, 'second'))]).toEqual([file, file])
})

it('links in a circle stay what they are', () => {
  symlinkSync(join(dir, 'b'), join(dir, 'a'))
  symlinkSync(join(dir, 'a'), join(dir, 'b'))
  expect(followLinks(join(dir, 'a'))).toBe(join(dir, 'a'))
})
