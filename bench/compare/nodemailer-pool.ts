/** A pool of nodemailer as a process: `node nodemailer-pool.js PORT COUNT` prints the seconds it took. Nothing is durable. */
import { createTransport } from 'nodemailer'
import { messages } from '../messages.js'

const [port, count] = process.argv.slice(2).map(Number)
const transport = createTransport({
  host: '127.0.0.1',
  port: port!,
  secure: false,
  ignoreTLS: true,
  pool: true,
  maxConnections: 20,
  maxMessages: Number.POSITIVE_INFINITY,
})
const mails = messages(count!).map(({ from, to, subject, body }) => ({ from, to, subject, text: body }))
const from = performance.now()
await Promise.all(mails.map(mail => transport.sendMail(mail as Parameters<typeof transport.sendMail>[0])))
process.stdout.write(`${(performance.now() - from) / 1000}\n`)
transport.close()
