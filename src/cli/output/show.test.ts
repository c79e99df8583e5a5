import { expect, it } from 'vitest'
import type { CliIo } from '../context.js'
import { show } from './show.js'

it('JSON on a terminal holds nothing that the terminal obeys, and says the same', () => {
  const written: string[] = []
  const io = { out: (text: string) => void written.push(text), terminal: { stdout: true } } as unknown as CliIo
  const answer = { body: 'a\u001b[31m\u009b32m\u007f\u202e\u061c é 💥' }
  show(io, { json: true }, answer, () => '')
  const shown = written.join('')
  expect(shown).toBe('{\n  "body": "a\\u001b[31m\\u009b32m\\u007f\\u202e\\u061c é 💥"\n}\n')
  expect(JSON.parse(shown)).toEqual(answer)
})
