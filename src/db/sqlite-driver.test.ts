import { expect, it } from 'vitest'
import { keepsLog, openDriver } from './sqlite-driver.js'

it.each([
  [undefined, false],
  ['3.50.4', false],
  ['3.51.2', false],
  ['3.51.3', true],
  ['3.53.0', true],
  ['4.0.0', true],
])('SQLite %s keeps its log beside a checkpoint: %s', (version, keeps) => {
  expect(keepsLog(version)).toBe(keeps)
})

it('the SQLite that is used does', async () => {
  const connection = await openDriver(':memory:', false)
  const [row] = connection.prepare('select sqlite_version() as version').all()
  connection.close()
  expect(keepsLog(String(row?.version))).toBe(true)
})
