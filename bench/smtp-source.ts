/** Postfix's smtp-source, a client in C that prepares its messages before it begins: what can be had without any queue. */
import { spawn } from 'node:child_process'
import { startSink } from './child.js'
import { programNamed } from './programs.js'

/** Messages a second from smtp-source straight into smtp-sink; null where they are not installed. */
export async function measureStraight(count: number): Promise<number | null> {
  if (programNamed('smtp-source') === null || programNamed('smtp-sink') === null) return null
  const sink = await startSink()
  try {
    return count / (await sendBySource(sink.port, count))
  } finally {
    await sink.stop()
  }
}

/** Seconds until the server at this port has taken all of them, 2 KB each, over 20 connections. */
export async function sendBySource(port: number, count: number): Promise<number> {
  const from = performance.now()
  const source = spawn(
    programNamed('smtp-source')!,
    ['-s', '20', '-m', String(count), '-l', '2048', '-d', `127.0.0.1:${port}`],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const code = await new Promise(done => source.once('exit', done))
  if (code !== 0) throw new Error(`smtp-source ended with ${code}`)
  return (performance.now() - from) / 1000
}
