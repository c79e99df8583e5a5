import { expect, it } from 'vitest'
import { withoutEnd } from './without-end.js'

it('takes the character away from the end only, however often it stands there', () => {
  const cut = ['', '/', '///', 'a', 'a/', '/a//', 'a/b'].map(text => withoutEnd(text, '/'))
  expect(cut).toEqual(['', '', '', 'a', 'a', '/a', 'a/b'])
})

it('a long run that is not the end is read once: from each place of it anew it would take hours', () => {
  const text = `${'='.repeat(3_000_000)}x`
  expect(withoutEnd(text, '=')).toBe(text)
})
