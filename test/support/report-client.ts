/** A tenant's side of the delivery reports: an HTTP sink that keeps the books of what it acknowledged. */
import { accept, type HttpSink, type SinkAnswer, type SinkRequest, startHttpSink } from './http-sink.js'

export type Entry = { readonly id: string } & Readonly<Record<string, any>>

export interface ReportClient extends HttpSink {
  /** Entries of the answers that acknowledged, in the order in which they came. */
  readonly acknowledged: readonly Entry[]
  /** Of those, the final ones (sent, error, cancelled) and the deferrals. */
  finals(): Entry[]
  deferrals(): Entry[]
  /** Requests being answered right now, and the most there ever were. */
  readonly concurrency: { now: number; most: number }
}

type Answer = (request: SinkRequest, index: number) => SinkAnswer | Promise<SinkAnswer>

export async function startReportClient(answer: Answer = () => accept): Promise<ReportClient> {
  const acknowledged: Entry[] = []
  const concurrency = { now: 0, most: 0 }
  const kept: Answer = async (request, index) => {
    concurrency.now += 1
    concurrency.most = Math.max(concurrency.most, concurrency.now)
    const given = await answer(request, index)
    await given.after
    acknowledged.push(...acknowledgedBy(given, entriesOf(request)))
    concurrency.now -= 1
    return given
  }
  const sink = await startHttpSink(kept)
  return {
    ...sink,
    acknowledged,
    concurrency,
    finals: () => acknowledged.filter(isFinal),
    deferrals: () => acknowledged.filter(each => each.deferred_ts !== undefined),
    answer(with_) {
      answer = with_
    },
  }
}

export function entriesOf({ json }: SinkRequest): Entry[] {
  return (json as { delivery_report?: Entry[] } | undefined)?.delivery_report ?? []
}

export function isFinal(entry: Entry): boolean {
  return entry.sent_ts !== undefined || entry.error_ts !== undefined
}

function acknowledgedBy({ status = 200, body, hang, close }: SinkAnswer, entries: readonly Entry[]): Entry[] {
  if (status < 200 || status > 299 || hang !== undefined || close === true) return []
  if (typeof body !== 'object' || body === null || (body as { ok?: unknown }).ok === false) return []
  const again = new Set((body as { error?: string[] }).error ?? [])
  return entries.filter(({ id }) => !again.has(id))
}
