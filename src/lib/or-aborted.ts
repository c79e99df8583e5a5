/**
 * What comes of the work, or the signal's reason as soon as it aborts; what comes later is given to `discard`. For work
 * that does not hear the signal all the time: a DNS lookup never does, undici not before it has a connection.
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal, discard: (late: T) => void = () => {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      reject(signal.reason)
      work.then(discard, () => {})
    }
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    work.finally(() => signal.removeEventListener('abort', stop)).then(resolve, reject)
  })
}
