/** An Express application that sends mail through the mail proxy by plain HTTP: submit in a request, receive reports. */
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
// The same as node:sqlite, which Node has from 22.13 on.
import { DatabaseSync } from '@photostructure/sqlite'
import express from 'express'

const { MAIL_PROXY_URL = 'http://127.0.0.1:8000', MAIL_PROXY_KEY, REPORT_TOKEN } = process.env
const { DATABASE = 'orders.db', PORT = '3000' } = process.env
if (!MAIL_PROXY_KEY || !REPORT_TOKEN) throw new Error('Set MAIL_PROXY_KEY and REPORT_TOKEN')

// The order's own row says what its mail is at: waiting, submitted, sent or error. The mail's id is kept with it, and is not
// the order's number: in a database made anew that would be the id of a mail that the proxy has sent, and sends no more.
const db = new DatabaseSync(DATABASE)
db.exec(`create table if not exists orders
  (id integer primary key, email text not null, mail_id text not null unique, mail text not null default 'waiting', error text)`)
const insertOrder = db.prepare('insert into orders (email, mail_id) values (?, ?)')

const app = express()

app.post('/orders', express.json(), async (request, response) => {
  const { email } = request.body ?? {}
  // One address: the proxy would take several, with commas between them.
  if (!/^[^\s,;@]+@[^\s,;@]+$/.test(email)) return response.status(400).json({ error: 'email should be one address' })
  const { lastInsertRowid: id } = insertOrder.run(email, `order-${randomUUID()}`)
  await submitWaiting()
  response.status(201).json(orderOf(id))
})

app.get('/orders/:id', (request, response) => {
  const order = orderOf(request.params.id)
  response.status(order ? 200 : 404).json(order ?? { error: 'no such order' })
})

app.post('/mail-proxy/sync', express.json({ limit: '5mb' }), (request, response) => {
  if (!isSame(request.get('authorization') ?? '', `Bearer ${REPORT_TOKEN}`)) {
    return response.status(401).json({ ok: false })
  }
  for (const { id, sent_ts, error_ts, error } of request.body.delivery_report ?? []) {
    const state = sent_ts ? 'sent' : error_ts ? 'error' : null
    if (state) db.prepare('update orders set mail = ?, error = ? where mail_id = ?').run(state, error ?? null, id)
  }
  // Stored by now. Whatever throws above is a 500, which acknowledges nothing: the proxy comes again.
  response.json({ ok: true })
})

/** Not a fault of the mail: it waits. */
const LATER = new Set(['in_progress', 'quota_exceeded', 'tenant_inactive'])

/** Ids make it harmless to submit twice, so what may not have arrived is simply submitted again. */
async function submitWaiting() {
  const orders = db.prepare("select id, email, mail_id from orders where mail = 'waiting' order by id limit 500").all()
  if (orders.length === 0) return
  const messages = orders.map(({ id, email, mail_id }) => ({
    id: mail_id,
    from: 'shop@example.org',
    to: [email],
    subject: `Your order ${id}`,
    body: 'Thank you for your order.',
  }))
  try {
    const response = await fetch(`${MAIL_PROXY_URL}/commands/add-messages`, {
      method: 'POST',
      headers: { 'X-API-Token': MAIL_PROXY_KEY, 'Content-Type': 'application/json' },
      body: JSON.stringify({ messages }),
      signal: AbortSignal.timeout(10_000),
    })
    const { rejected, error } = await response.json()
    if (!Array.isArray(rejected)) throw new Error(error)
    const refused = new Map(rejected.map(each => [each.id, each]))
    // Not if its report was faster.
    const mark = db.prepare("update orders set mail = ?, error = ? where mail_id = ? and mail = 'waiting'")
    for (const { mail_id } of orders) {
      const { code, reason } = refused.get(mail_id) ?? {}
      if (code === undefined || code === 'already_sent') mark.run('submitted', null, mail_id)
      else if (!LATER.has(code)) mark.run('error', reason, mail_id)
    }
  } catch (error) {
    console.error(`Not submitted, will be tried again: ${error.message}`)
  }
}

function orderOf(id) {
  return db.prepare('select id, mail, error from orders where id = ?').get(Number(id))
}

/** In a time that does not tell how much of it is right. */
function isSame(given, expected) {
  const digest = text => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

setInterval(submitWaiting, 10_000)
await submitWaiting()
app.listen(Number(PORT), '127.0.0.1', () => console.log(`listens on http://127.0.0.1:${PORT}`))
