/** Where the service listens. A port somebody chose is that port or a failure; the default one moves on when it is taken. */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.js'

/** Ports tried beyond the default. */
const TRIES = 100

/** Answers the URL. Rejects with EADDRINUSE, EACCES, … as the system says it. */
export async function listen(
  app: FastifyInstance,
  { host, port, portMayMove }: Pick<Config['server'], 'host' | 'port' | 'portMayMove'>,
): Promise<string> {
  for (let next = port; ; next += 1) {
    try {
      // Of a name with two addresses Fastify would open a second server, which lacks all that is set at the first.
      return await app.listen({ host: host === 'localhost' ? '127.0.0.1' : host, port: next })
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      if (!isTaken || !portMayMove || next >= port + TRIES) throw error
    }
  }
}
