import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, it, vi } from 'vitest'
import { createProcesses } from './processes.js'

const processes = createProcesses([process.execPath, 'main.js'])

it('knows a process by its id and the time it began', () => {
  const mark = processes.markOf(process.pid)
  expect([processes.isAlive(process.pid, mark), processes.isAlive(process.pid, null)]).toEqual([true, true])
  expect(processes.isAlive(process.pid, '1')).toBe(process.platform !== 'linux')
})

it.runIf(process.platform === 'linux')('counts one as ended whose parent never asks for its exit code', async () => {
  // The second `sleep` takes the place of the shell, which would have asked.
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const pid = Number(await new Promise(done => parent.stdout.once('data', done)))
    await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') Z '))
    expect(processes.isAlive(pid, processes.markOf(pid))).toBe(false)
  } finally {
    parent.kill()
  }
})
