/**
 * The set of most scenarios: a whole service, one SMTP sink with the account `main` of the default tenant on it, and
 * that tenant's report client. All of it is closed when the test ends, however it ends.
 */
import { onTestFinished } from 'vitest'
import { tempDir } from './process.js'
import { type Entry, type ReportClient, startReportClient } from './report-client.js'
import { startTestService, type TestService, type TestServiceOptions } from './service.js'
import { type SinkMessage, type SinkOptions, type SmtpSink, startSink } from './smtp-sink.js'
import { tenant } from './story.js'

export interface Scene {
  readonly service: TestService
  readonly sink: SmtpSink
  readonly client: ReportClient
  /** What the client acknowledged of one message, in order. */
  reports(id: string): Entry[]
  /** Stops the service and starts another one on the same database. */
  restart(): Promise<TestService>
}

export interface SceneOptions extends Omit<TestServiceOptions, 'databaseUrl'> {
  readonly sink?: SinkOptions
  /** Fields of the account `main`; null: none is made. */
  readonly account?: Record<string, unknown> | null
}

export async function openScene({ sink: sinkOptions, account = {}, ...options }: SceneOptions = {}): Promise<Scene> {
  const sink = await opened(startSink(sinkOptions), each => each.close())
  const client = await opened(startReportClient(), each => each.close())
  // Outlives a service that stops, so that another one can follow it.
  const { dir } = await opened(tempDir(), each => each.remove())
  const databaseUrl = options.dialect === 'postgres' ? undefined : `${dir}/mail_service.db`
  const start = (url: string | undefined) =>
    opened(startTestService({ ...options, databaseUrl: url }), each => each.stop())

  let service = await start(databaseUrl)
  await tenant(service, 'default', client)
  if (account !== null) await service.account(sink, account)
  return {
    get service() {
      return service
    },
    sink,
    client,
    reports: id => client.acknowledged.filter(entry => entry.id === id),
    async restart() {
      await service.stop()
      service = await start(service.databaseUrl)
      return service
    },
  }
}

/** Sees to it that what was opened is closed when the test ends. */
export async function opened<T>(opening: Promise<T>, close: (it: T) => Promise<void>): Promise<T> {
  const it = await opening
  onTestFinished(() => close(it))
  return it
}

/** Header fields of a mail by lower-case name, unfolded; a field that stands twice has two values. */
export function headersOf(raw: Buffer): ReadonlyMap<string, readonly string[]> {
  const head = raw
    .toString('utf8')
    .split('\r\n\r\n', 1)[0]!
    .replace(/\r\n[ \t]+/g, ' ')
  const headers = new Map<string, string[]>()
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    headers.set(name, [...(headers.get(name) ?? []), line.slice(colon + 1).trim()])
  }
  return headers
}

/** The client's id of each mail, in the order in which the server took them. */
export function idsOf(messages: readonly Pick<SinkMessage, 'raw'>[]): string[] {
  return messages.map(({ raw }) => headersOf(raw).get('x-genro-mail-id')?.[0] ?? '')
}

/** Everything a server read on all connections, commands and accepted mails, to look for what must not be there. */
export function wireText(sink: SmtpSink): string {
  return [...sink.commands.map(({ line }) => line), ...sink.messages.map(({ raw }) => raw.toString('utf8'))].join('\n')
}
