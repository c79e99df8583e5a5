import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { tempDir } from '../../test/support/process.js'
import { DatabaseTaken } from './db.js'
import { lockAlone } from './sqlite.js'
import { openDriver } from './sqlite-driver.js'

async function inFolder(work: (path: string) => Promise<void>): Promise<void> {
  const { dir, remove } = await tempDir()
  await work(`${dir}/mail.db`).finally(remove)
}

it('a process that only looks at the lock, as another that starts does, is waited for', () =>
  inFolder(async path => {
    const other = await openDriver(`${path}-lock`, false)
    other.exec('begin; select * from sqlite_master')
    const locked = lockAlone(path)
    await pause(20)
    other.close()
    ;(await locked).release()
  }))

it('one that holds it is not', () =>
  inFolder(async path => {
    const held = await lockAlone(path)
    await expect(lockAlone(path)).rejects.toBeInstanceOf(DatabaseTaken)
    held.release()
    ;(await lockAlone(path)).release()
  }))
