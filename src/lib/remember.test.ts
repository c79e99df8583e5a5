import { describe, expect, it } from 'vitest'
import { remember } from './remember.js'

function counting(most?: number, longest?: number) {
  const asked: string[] = []
  const of = (text: string) => {
    asked.push(text)
    return text.toUpperCase()
  }
  return { asked, answer: remember(of, most, longest) }
}

describe('what is remembered of a text', () => {
  it('is its answer, found once', () => {
    const { asked, answer } = counting()
    expect(['a', 'b', 'a'].map(answer)).toEqual(['A', 'B', 'A'])
    expect(asked).toEqual(['a', 'b'])
  })

  it('is forgotten with all others when there are too many', () => {
    const { asked, answer } = counting(2)
    for (const text of ['a', 'b', 'c', 'c', 'a']) expect(answer(text)).toBe(text.toUpperCase())
    expect(asked).toEqual(['a', 'b', 'c', 'a'])
  })

  it('is nothing when it is too long', () => {
    const { asked, answer } = counting(2, 3)
    for (const text of ['abcd', 'abc', 'abcd', 'abc']) expect(answer(text)).toBe(text.toUpperCase())
    expect(asked).toEqual(['abcd', 'abc', 'abcd'])
  })
})
