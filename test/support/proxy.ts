/**
 * A TCP proxy on a free port of 127.0.0.1 that a script can bend: it sees what either side says before the other does,
 * and may change it, hold it back, let it drip, reset both sides, or leave them half-open.
 */
import { connect, createServer, type Socket } from 'node:net'

export interface Link {
  /** Counts from 1. */
  readonly n: number
  toClient(octets: Buffer | string): void
  /** Ends both connections with a RST. */
  reset(): void
  /** Half-open: from now on nothing is read, passed on or closed, whatever either side does. */
  freeze(): void
  /** From now on the client gets so many octets every `everyMs`. */
  slow(everyMs: number, octets: number): void
}

/** What is answered goes on to the other side; null: nothing does. */
export interface Script {
  fromClient?(chunk: Buffer, link: Link): Buffer | null
  fromServer?(chunk: Buffer, link: Link): Buffer | null
}

export interface TcpProxy {
  readonly host: string
  readonly port: number
  /** Connections ever taken. */
  readonly connections: number
  /** Those that stand, half-open ones too. */
  readonly links: readonly Link[]
  /** Of links to come. */
  script(make: () => Script): void
  close(): Promise<void>
}

export async function startProxy(
  server: { readonly host?: string; readonly port: number },
  make: () => Script = () => ({}),
): Promise<TcpProxy> {
  const open = new Map<Link, () => void>()
  let connections = 0
  const listener = createServer({ noDelay: true, allowHalfOpen: true }, client => {
    const upstream = connect({ host: '127.0.0.1', ...server, noDelay: true, allowHalfOpen: true })
    const link = join(client, upstream, make(), ++connections, () => open.delete(link))
    open.set(link, () => {
      client.destroy()
      upstream.destroy()
    })
  })
  await new Promise<void>(done => listener.listen(0, '127.0.0.1', done))
  return {
    host: '127.0.0.1',
    port: (listener.address() as { port: number }).port,
    get connections() {
      return connections
    },
    get links() {
      return [...open.keys()]
    },
    script(next) {
      make = next
    },
    async close() {
      const closed = new Promise(done => listener.close(done))
      for (const end of open.values()) end()
      await closed
    },
  }
}

function join(client: Socket, upstream: Socket, script: Script, n: number, over: () => void): Link {
  let isFrozen = false
  let drop: ((octets: Buffer) => void) | null = null
  const link: Link = {
    n,
    toClient(octets) {
      if (isFrozen || !client.writable) return
      if (drop === null) client.write(octets)
      else drop(Buffer.from(octets as string))
    },
    reset() {
      client.resetAndDestroy()
      upstream.resetAndDestroy()
    },
    freeze() {
      isFrozen = true
      client.pause()
      upstream.pause()
    },
    slow(everyMs, octets) {
      drop ??= dripper(client, everyMs, octets)
    },
  }
  client.on('data', chunk => {
    const passed = script.fromClient === undefined ? chunk : script.fromClient(chunk, link)
    if (passed === null || isFrozen || !upstream.writable || upstream.write(passed)) return
    client.pause()
    upstream.once('drain', () => isFrozen || client.resume())
  })
  upstream.on('data', chunk => {
    const passed = script.fromServer === undefined ? chunk : script.fromServer(chunk, link)
    if (passed !== null && passed.length > 0) link.toClient(passed)
  })
  for (const [from, to] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    from.on('end', () => isFrozen || to.end())
    from.on('error', () => {})
    from.on('close', () => {
      if (isFrozen) return
      over()
      to.destroySoon()
    })
  }
  return link
}

function dripper(to: Socket, everyMs: number, size: number): (octets: Buffer) => void {
  let left = Buffer.alloc(0)
  const timer = setInterval(() => {
    if (left.length > 0 && to.writable) to.write(left.subarray(0, size))
    left = left.subarray(size)
  }, everyMs)
  to.on('close', () => clearInterval(timer))
  return octets => {
    left = Buffer.concat([left, octets])
  }
}
