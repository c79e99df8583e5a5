/**
 * TCP sockets read into one buffer of the process: who takes a socket's octets at once spares each read a buffer of
 * 64 KB and the way through the stream. Until somebody does, and for TLS upon it, the socket is like any other.
 */
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net'

/** Holds one read at a time, from the kernel to whoever takes it. */
const shared = Buffer.allocUnsafeSlow(64 * 1024)

const takers = new WeakMap<Socket, (octets: string) => void>()

export function connectForDirectReads(options: TcpNetConnectOpts): Socket {
  const callback = (size: number) => {
    const take = takers.get(socket)
    if (take === undefined) return socket.push(Buffer.from(shared.subarray(0, size)))
    take(shared.toString('latin1', 0, size))
    return true
  }
  const socket: Socket = connect({ ...options, onread: { buffer: shared, callback } })
  return socket
}

/**
 * From now on `take` has what the socket reads, a character an octet. Other sockets bring it as `data`. Answers the
 * function that ends it.
 */
export function readDirectly(socket: Socket, take: (octets: string) => void): () => void {
  const takeData = (octets: Buffer) => take(octets.toString('latin1'))
  // Also what a direct one has read and not yet handed on.
  socket.on('data', takeData)
  takers.set(socket, take)
  return () => {
    takers.delete(socket)
    socket.removeListener('data', takeData)
  }
}
