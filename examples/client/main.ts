/**
 * An application that sends mail through a running mail proxy: the pattern to copy. It writes a mail in the transaction
 * of its own business row, submits it, and learns by a report what became of it. See README.md.
 */
import { parseArgs } from 'node:util'
import { createClient, createReportReceiver } from 'genro-mail-proxy/client'
import { startPosting } from './posting.js'
import { type Registration, register } from './register.js'
import { startServer } from './server.js'
import { openStore } from './store.js'

const USAGE = `Usage: npm run example -- --to <address> [options]

  MAIL_PROXY_TOKEN    the admin token of the mail proxy: makes the tenant and its account
  MAIL_PROXY_KEY      in its place a tenant's API key: uses what is there
  SMTP_USER, SMTP_PASSWORD    for the account

  --to <address>      who gets the test mails
  --from <address>    sender; shop@example.org
  --smtp <host:port>  the account's SMTP server; left out: the account that is there
  --tenant <id>       whose mail it is; example
  --url <url>         the mail proxy; http://127.0.0.1:8000
  --port <port>       where this application listens, on 127.0.0.1; 8081
  --own-url <url>     where the proxy reaches it; http://127.0.0.1:<port>
  --db <path>         its database; example.db
  --token, --key      instead of the variables; others can see them in the list of processes
  --help
`

process.exitCode = await main()

async function main(): Promise<number> {
  let settings: Settings | 'help'
  try {
    settings = readSettings()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`)
    return 2
  }
  if (settings === 'help') {
    process.stdout.write(USAGE)
    return 0
  }
  const { url } = settings
  try {
    await run(settings)
    return 0
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // What has no code is a fault of this program: let its stack be seen.
    if (code === undefined) throw error
    process.stderr.write(`${message}\n`)
    if (code === 'unreachable') process.stderr.write(`Is the mail proxy running at ${url}? --url names it.\n`)
    if (code === 'unauthorized')
      process.stderr.write('MAIL_PROXY_TOKEN is the admin token, MAIL_PROXY_KEY the API key of --tenant.\n')
    return 1
  }
}

/** Until a signal. */
async function run({ url, db, port, from, to, registration }: Settings): Promise<void> {
  const undo: (() => unknown)[] = []
  try {
    const store = openStore(db)
    undo.push(() => store.close())
    const { key, reportToken, signingSecret } = await register(store, registration)
    // Nothing is asked twice here: the outbox is.
    const posting = startPosting(store, createClient({ url, token: key, timeoutMs: 10_000, retry: false }))
    undo.push(() => posting.stop())
    const receive = createReportReceiver({
      auth: { method: 'bearer', token: reportToken },
      secrets: [signingSecret],
      // Stored first, acknowledged by the answer: this order is what makes reports safe.
      record: entries => ({ not_found: store.record(entries) }),
    })
    const server = await startServer({ store, posting, receive, mail: { from, to } }, port)
    undo.push(() => server.close())
    process.stdout.write(`The example listens on http://127.0.0.1:${server.port} and sends through ${url}\n`)
    await new Promise(resolve => ['SIGINT', 'SIGTERM'].map(name => process.once(name, resolve)))
  } finally {
    for (const each of undo.reverse()) await each()
  }
}

type Settings = Exclude<ReturnType<typeof readSettings>, 'help'>

function readSettings() {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      url: { ...text, default: 'http://127.0.0.1:8000' },
      token: { ...text, default: process.env.MAIL_PROXY_TOKEN || undefined },
      key: { ...text, default: process.env.MAIL_PROXY_KEY || undefined },
      tenant: { ...text, default: 'example' },
      smtp: text,
      from: { ...text, default: 'shop@example.org' },
      to: text,
      port: { ...text, default: '8081' },
      'own-url': text,
      db: { ...text, default: 'example.db' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help' as const
  const port = Number(values.port)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error('--port should be 1 to 65535')
  if (values.to === undefined) throw new Error('--to: who gets the test mails is missing')
  const token = values.key ?? values.token
  if (token === undefined) throw new Error('Set MAIL_PROXY_TOKEN or MAIL_PROXY_KEY')
  const { url, db, from, to, tenant } = values
  // Says what is wrong with the two, if anything is; asks nothing.
  createClient({ url, token })
  const ownUrl = values['own-url'] ?? `http://127.0.0.1:${port}`
  const registration: Registration = {
    url,
    tenant,
    ownUrl,
    access: values.key !== undefined ? { key: values.key } : { adminToken: token, smtp: smtpOf(values.smtp) },
  }
  return { url, db, port, from, to, registration }
}

function smtpOf(given: string | undefined) {
  if (given === undefined) return null
  const [, host, port] = /^(.+):(\d+)$/.exec(given) ?? []
  if (host === undefined) throw new Error('--smtp should be <host>:<port>')
  return { host, port: Number(port), user: process.env.SMTP_USER, password: process.env.SMTP_PASSWORD }
}
