/** `--stay`: tells what to open and try, and shows what happens until Ctrl-C. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExampleApp } from './app.js'
import type { Catcher } from './catcher.js'
import { REFUSED } from './messages.js'
import type { Screen } from './screen.js'
import type { ServiceProcess } from './service-process.js'

export interface Stage {
  readonly screen: Screen
  readonly dir: string
  readonly service: ServiceProcess
  readonly catcher: Catcher
  readonly app: ExampleApp
  readonly tenantId: string
  readonly tenantKey: string
}

const LOOK_EVERY_MS = 250

/** Returns when `signal` aborts. */
export async function stay(stage: Stage, signal: AbortSignal): Promise<void> {
  const mailDir = join(stage.dir, 'mail')
  await mkdir(mailDir)
  const mails = followMails(stage, mailDir)
  await mails()
  tellWhatToTry(stage, mailDir)
  const reports = followReports(stage)
  while (!signal.aborted) {
    await mails()
    reports()
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {})
  }
}

function tellWhatToTry({ screen, service, catcher, tenantId, tenantKey }: Stage, mailDir: string): void {
  const { line, bold, dim } = screen
  const { url, adminToken, logPath } = service
  const message = {
    id: 'hello-1',
    from: 'me@shop.example',
    to: 'you@customers.example',
    subject: 'Hello',
    body: 'It works.',
  }
  line(bold('It stays up. Open'))
  const open = (what: string, about: string) => line(`  ${what.padEnd(logPath.length)}  ${dim(about)}`)
  open(`${url}/docs`, 'the API, to read and to try')
  open(`${url}/metrics`, 'figures for Prometheus')
  open(mailDir, 'the mail that was caught')
  open(logPath, 'the service’s log')
  line()
  line(bold('Try, in another terminal'))
  line(`  URL=${url}`)
  line(`  ADMIN=${adminToken}  ${dim('# may do everything')}`)
  line(`  KEY=${tenantKey}  ${dim(`# tenant ${tenantId}: its own mail only`)}`)
  line()
  line(`  ${dim('# send one more message; what becomes of it shows up below')}`)
  line(`  curl -s $URL/commands/add-messages -H "X-API-Token: $KEY" -H 'Content-Type: application/json' \\`)
  line(`    -d '${JSON.stringify({ messages: [message] })}'`)
  line(`  ${dim('# once more: already_sent, because its id is known; with a new id it is a new message')}`)
  line(`  ${dim(`# to ${REFUSED}: an error with the server’s words`)}`)
  line()
  line(`  ${dim('# its record, attempt by attempt with the server’s words')}`)
  line(`  curl -s $URL/messages/hello-1 -H "X-API-Token: $KEY"`)
  line(`  ${dim('# what could not be sent, and why')}`)
  line(`  curl -s "$URL/messages?status=error" -H "X-API-Token: $KEY"`)
  line(`  ${dim('# the service at a glance; hold the mail back, and let it go again')}`)
  line(`  curl -s $URL/status -H "X-API-Token: $ADMIN"`)
  line(`  curl -s -X POST $URL/commands/suspend -H "X-API-Token: $KEY"`)
  line(`  curl -s -X POST $URL/commands/activate -H "X-API-Token: $KEY"`)
  line()
  line(dim(`The catcher listens on ${catcher.host}:${catcher.port}. Ctrl-C stops all and removes its files.`))
  line()
}

/** Writes each new mail to a file; the calls after the first also tell of it. */
function followMails({ screen, catcher }: Stage, mailDir: string): () => Promise<void> {
  let seen = 0
  let isFirst = true
  return async () => {
    for (; seen < catcher.caught.length; seen++) {
      const { raw, from, to } = catcher.caught[seen]!
      const path = join(mailDir, `${String(seen + 1).padStart(4, '0')}.eml`)
      await writeFile(path, raw)
      if (!isFirst) screen.line(`${time()}  caught    ${from} → ${to.join(', ')}  ${screen.dim(path)}`)
    }
    isFirst = false
  }
}

function followReports({ screen, app }: Stage): () => void {
  let seen = app.outbox.reports().length
  return () => {
    const reports = app.outbox.reports()
    for (const entry of reports.slice(seen)) {
      const end =
        entry.sent_ts !== undefined
          ? screen.good('sent')
          : entry.deferred_ts !== undefined
            ? `deferred: ${entry.deferred_reason ?? ''}`
            : screen.bad(`error: ${entry.error ?? ''}`)
      screen.line(`${time()}  reported  ${entry.id}  ${end}`)
    }
    seen = reports.length
  }
}

function time(): string {
  return new Date().toTimeString().slice(0, 8)
}
