/**
 * A Postfix of its own in a temporary folder, relaying to smtp-sink with Debian's defaults: durable before its 250. Nothing
 * of the machine's own Postfix is read or started, and nothing is left running. Wants root, as Postfix does.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../test/support/free-port.js'
import { ended, startSink } from '../child.js'
import { programNamed } from '../programs.js'
import { sendBySource } from '../smtp-source.js'
import { pause } from '../times.js'

export async function measurePostfix(count: number): Promise<{ accepted: number; endToEnd: number }> {
  const sink = await startSink()
  const postfix = await startPostfix(sink.port)
  try {
    await sendBySource(postfix.port, Math.ceil(count / 20))
    await untilQueueEmpty(postfix.queue)
    const from = performance.now()
    const acceptedSeconds = await sendBySource(postfix.port, count)
    await untilQueueEmpty(postfix.queue)
    return { accepted: count / acceptedSeconds, endToEnd: count / ((performance.now() - from) / 1000) }
  } finally {
    await postfix.stop()
    await sink.stop()
  }
}

const SERVICES = `
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
`

async function startPostfix(relayPort: number) {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-postfix-'))
  chmodSync(dir, 0o755)
  const [config, queue, data] = ['config', 'queue', 'data'].map(name => join(dir, name)) as [string, string, string]
  for (const each of [config, queue, data]) mkdirSync(each, { mode: 0o755 })
  const owner = idOf('-u')
  chownSync(data, owner, idOf('-g'))
  const port = await freePort()
  writeFileSync(
    join(config, 'main.cf'),
    [
      'compatibility_level = 3.6',
      `queue_directory = ${queue}`,
      `data_directory = ${data}`,
      'inet_interfaces = loopback-only',
      'inet_protocols = ipv4',
      'mydestination =',
      'myhostname = bench.example.com',
      'mynetworks = 127.0.0.0/8',
      `relayhost = [127.0.0.1]:${relayPort}`,
      'smtp_dns_support_level = disabled',
      'alias_maps =',
      'alias_database =',
      'local_recipient_maps =',
      '',
    ].join('\n'),
  )
  writeFileSync(join(config, 'master.cf'), `127.0.0.1:${port} inet n - n - - smtpd\n${SERVICES.trimStart()}`)
  makeQueue(queue, owner)
  const daemons = spawnSync(programNamed('postconf')!, ['-d', '-h', 'daemon_directory'], {
    encoding: 'utf8',
  }).stdout.trim()
  const master = spawn(join(daemons, 'master'), ['-c', config, '-d'], { stdio: 'ignore' })
  const stop = async () => {
    await ended(master, 'SIGTERM')
    await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 })
  }
  try {
    await listens(master, port)
  } catch (error) {
    await stop()
    throw error
  }
  return { port, queue, stop }
}

const PRIVATE = [
  'active',
  'bounce',
  'corrupt',
  'defer',
  'deferred',
  'flush',
  'hold',
  'incoming',
  'private',
  'saved',
  'trace',
]

/** As `postfix check` would make it, without a set-group program: nobody submits by command. */
function makeQueue(queue: string, owner: number): void {
  mkdirSync(join(queue, 'pid'), { mode: 0o755 })
  for (const name of [...PRIVATE, 'public', 'maildrop']) {
    mkdirSync(join(queue, name), { mode: name === 'public' ? 0o755 : 0o700 })
    chownSync(join(queue, name), owner, 0)
  }
}

function idOf(flag: '-u' | '-g'): number {
  return Number(spawnSync('id', [flag, 'postfix'], { encoding: 'utf8' }).stdout)
}

async function listens(master: ChildProcess, port: number): Promise<void> {
  for (let i = 0; i < 100; i += 1) {
    if (master.exitCode !== null) throw new Error(`Postfix's master ended with ${master.exitCode}`)
    const greets = await new Promise<boolean>(done => {
      const socket = connect(port, '127.0.0.1')
      socket.once('data', () => {
        socket.end('QUIT\r\n')
        done(true)
      })
      socket.once('error', () => done(false))
    })
    if (greets) return
    await pause(100)
  }
  throw new Error('Postfix did not greet within 10 s')
}

/** A message is a file in one of these until the server has taken it. */
async function untilQueueEmpty(queue: string): Promise<void> {
  const isEmpty = () =>
    ['incoming', 'active', 'deferred'].every(name =>
      readdirSync(join(queue, name), { recursive: true, withFileTypes: true }).every(entry => !entry.isFile()),
    )
  while (!isEmpty()) await pause(50)
}
