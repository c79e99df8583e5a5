import { expect, test } from 'vitest'
import { beforeTurnEnds, whenTurnEnds } from './turn-end.js'

test('what is put off is done in the same turn, and handed on after all of it', async () => {
  const done: string[] = []
  whenTurnEnds(() => done.push('handed on'))
  beforeTurnEnds(() => {
    done.push('work')
    whenTurnEnds(() => done.push('handed on what it made'))
  })
  beforeTurnEnds(() => done.push('more work'))
  expect(done).toEqual([])
  await new Promise(resolve => setImmediate(resolve))
  expect(done).toEqual(['work', 'more work', 'handed on', 'handed on what it made'])
})

test('what is asked for while handing on waits for the next turn', async () => {
  const done: string[] = []
  whenTurnEnds(() => {
    done.push('first')
    beforeTurnEnds(() => done.push('second'))
  })
  await new Promise(resolve => setImmediate(resolve))
  expect(done).toEqual(['first'])
  await new Promise(resolve => setImmediate(resolve))
  expect(done).toEqual(['first', 'second'])
})
