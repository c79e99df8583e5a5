/** The bench's own client: what it does not see would be told as speed. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { requests } from '../../bench/messages.js'
import { createSubmitting, type Submitting } from '../../bench/submitting.js'

const TAKEN = '{"ok":true,"queued":1,"rejected":[]}'

describe('a request of the bench', () => {
  let server: Server
  let submitting: Submitting
  let bodies: string[]
  let connections: number

  async function answering(answer: (response: ServerResponse) => void, most = 1): Promise<void> {
    bodies = []
    connections = 0
    server = createServer(async (request, response) => {
      let text = ''
      for await (const chunk of request) text += chunk
      bodies.push(text)
      answer(response)
    })
    server.on('connection', () => {
      connections += 1
    })
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    submitting = createSubmitting(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, most)
  }

  const end = (status: number, text: string) => (response: ServerResponse) =>
    response.writeHead(status, { 'content-length': text.length }).end(text)

  afterEach(async () => {
    submitting.close()
    await new Promise(done => server.close(done))
  })

  it('goes whole, over no more connections than may be, and each is answered', async () => {
    await answering(end(200, TAKEN), 2)
    const made = requests(5, 1)
    const times = await Promise.all(made.map(request => submitting.submit(request)))
    expect(times).toHaveLength(5)
    expect(connections).toBe(2)
    expect(bodies.map(body => JSON.parse(body).messages[0].id).sort()).toEqual(
      made.map(request => /"id":"([^"]+)"/.exec(String(request))?.[1]).sort(),
    )
  })

  it('is answered when all of the answer has come', async () => {
    await answering(response => {
      // The client is of this process: it reads the first part in the turn before the rest is written.
      const rest = () => setImmediate(() => setImmediate(() => response.end(TAKEN.slice(12))))
      response.writeHead(200, { 'content-length': TAKEN.length }).write(TAKEN.slice(0, 12), rest)
    })
    await submitting.submit(requests(1, 1)[0]!)
    expect(bodies).toHaveLength(1)
  })

  it.each([
    ['refused', 429, '{"ok":false,"error":"too many"}'],
    ['answered otherwise', 503, TAKEN],
    ['taken in but for a message', 200, '{"ok":true,"queued":0,"rejected":[{"id":"a","reason":"no account"}]}'],
    ['not judged', 200, '{"ok":false,"queued":0,"rejected":[]}'],
  ])('fails aloud when it was %s', async (_what, status, text) => {
    await answering(end(status, text))
    await expect(submitting.submit(requests(1, 1)[0]!)).rejects.toThrow(text)
  })

  it('fails aloud when the connection ends before its answer', async () => {
    await answering(response => response.destroy())
    await expect(submitting.submit(requests(1, 1)[0]!)).rejects.toThrow('closed a connection')
  })
})
