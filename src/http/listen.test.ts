import { createServer, type Server } from 'node:net'
import fastify from 'fastify'
import { afterEach, expect, it } from 'vitest'
import { listen } from './listen.js'

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

async function taken(): Promise<number> {
  const server: Server = createServer()
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  open.push(server)
  return (server.address() as { port: number }).port
}

function app() {
  const made = fastify()
  open.push(made)
  return made
}

it('a port nobody chose moves on to the next free one', async () => {
  const port = await taken()
  const url = await listen(app(), { host: '127.0.0.1', port, portMayMove: true })
  expect(Number(new URL(url).port)).toBeGreaterThan(port)
  expect((await fetch(url)).status).toBe(404)
})

it('a chosen port that is taken is a failure', async () => {
  const port = await taken()
  await expect(listen(app(), { host: '127.0.0.1', port, portMayMove: false })).rejects.toMatchObject({
    code: 'EADDRINUSE',
  })
})
