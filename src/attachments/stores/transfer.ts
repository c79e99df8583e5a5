/**
 * The watch over every exchange with a store: the caller's signal, a time limit for connecting and between two pieces,
 * and the announced size. Clients differ in what they honour of these, so none is relied on: what does not end by itself
 * is left behind with its signal aborted. All that comes out is a result or an AttachmentFailure.
 */
import { Readable, Transform } from 'node:stream'
import { AttachmentFailure } from '../failure.js'
import { failureOf, noAnswer } from './failure-of.js'
import type { NewFile, StoreAccess, StoredFile } from './store.js'

/** Opens a file. The body that comes out fails when no piece arrives in time, or more or fewer octets than announced. */
export async function receive(
  { timeoutMs }: StoreAccess,
  signal: AbortSignal,
  open: (signal: AbortSignal) => Promise<StoredFile>,
): Promise<StoredFile> {
  const watch = new Watch(timeoutMs, signal)
  try {
    const { sizeBytes, body } = await watch.over(open(watch.signal), late => discard(late.body))
    return { sizeBytes, body: new WatchedBody(body, sizeBytes, watch) }
  } catch (error) {
    watch.end()
    throw failureOf(error, timeoutMs)
  }
}

/** Writes a file. Each call of `body` opens it anew; a body of another size than announced ends the exchange. */
export async function send(
  { timeoutMs }: StoreAccess,
  signal: AbortSignal,
  file: NewFile,
  write: (body: () => Readable, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const watch = new Watch(timeoutMs, signal)
  const opened = new Set<Readable>()
  const body = () => {
    const source = file.open()
    const measured = measure(file.sizeBytes, () => watch.restart())
    // A client that got fewer octets than announced would wait for the rest; one that only pipes would not see the error.
    // Errors of the measured stream that are not of its own making are the client's, who tells them better himself.
    source.on('error', error => watch.fail(error))
    measured.on('error', error => error instanceof AttachmentFailure && watch.fail(error))
    opened.add(source).add(measured)
    return source.pipe(measured)
  }
  try {
    await watch.over(write(body, watch.signal))
  } catch (error) {
    throw failureOf(error, timeoutMs)
  } finally {
    watch.end()
    for (const stream of opened) discard(stream)
  }
}

/** One exchange without a body, within the time limit. */
export async function call<T>(
  { timeoutMs }: StoreAccess,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const watch = new Watch(timeoutMs, signal)
  try {
    return await watch.over(work(watch.signal))
  } catch (error) {
    throw failureOf(error, timeoutMs)
  } finally {
    watch.end()
  }
}

/** Ends a stream that nobody reads any more, whatever it still has to say. */
export function discard(stream: Readable): void {
  stream.on('error', () => {}).destroy()
}

class Watch {
  readonly #controller = new AbortController()
  readonly #stopped = () =>
    this.fail(new AttachmentFailure('it was stopped', 'transient', { cause: this.outer.reason }))
  #timer: NodeJS.Timeout | undefined
  #onFailure: (error: Error) => void = () => {}
  #failure: Error | null = null

  constructor(
    readonly timeoutMs: number,
    private readonly outer: AbortSignal,
  ) {
    outer.addEventListener('abort', this.#stopped, { once: true })
    this.restart()
    if (outer.aborted) this.#stopped()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  restart(): void {
    this.pause()
    if (this.#failure === null) this.#timer = setTimeout(() => this.fail(noAnswer(this.timeoutMs)), this.timeoutMs)
  }

  pause(): void {
    clearTimeout(this.#timer)
  }

  /** The first failure counts; what the aborted client says afterwards is an echo of it. */
  fail(error: Error): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.end()
    this.#onFailure(error)
    this.#controller.abort(error)
  }

  whenFailed(heard: (error: Error) => void): void {
    this.#onFailure = heard
    if (this.#failure !== null) heard(this.#failure)
  }

  /** The result of the work, or the failure as soon as there is one; a result that comes later is discarded. */
  over<T>(work: Promise<T>, discardLate: (late: T) => void = () => {}): Promise<T> {
    return new Promise((resolve, reject) => {
      this.whenFailed(reject)
      work.then(
        result => (this.#failure === null ? resolve(result) : discardLate(result)),
        error => reject(error),
      )
    })
  }

  end(): void {
    this.pause()
    this.outer.removeEventListener('abort', this.#stopped)
  }

  abort(): void {
    this.end()
    this.#controller.abort(new Error('no longer wanted'))
  }
}

/** Passes the pieces on; the time limit runs only while the store is waited for, not while the reader is busy. */
class WatchedBody extends Readable {
  #gotBytes = 0

  constructor(
    private readonly source: Readable,
    private readonly sizeBytes: number | null,
    private readonly watch: Watch,
  ) {
    super()
    watch.pause()
    watch.whenFailed(error => this.destroy(error))
    source.on('data', (piece: Buffer) => this.#pass(piece))
    source.once('end', () => this.#finish())
    source.once('error', error => this.destroy(error))
    source.once('close', () => {
      if (!source.readableEnded) this.destroy(new AttachmentFailure('the connection broke off', 'transient'))
    })
    source.pause()
  }

  override _read(): void {
    this.watch.restart()
    this.source.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    discard(this.source)
    // Some clients end the connection for the signal only, not for the body.
    if (!this.source.readableEnded) this.watch.abort()
    this.watch.end()
    callback(error === null ? null : failureOf(error, this.watch.timeoutMs))
  }

  #pass(piece: Buffer): void {
    this.#gotBytes += piece.length
    this.watch.pause()
    if (this.sizeBytes !== null && this.#gotBytes > this.sizeBytes) this.destroy(wrongSize())
    else if (this.push(piece)) this.watch.restart()
    else this.source.pause()
  }

  #finish(): void {
    this.watch.end()
    if (this.sizeBytes !== null && this.#gotBytes !== this.sizeBytes) this.destroy(wrongSize())
    else this.push(null)
  }
}

function wrongSize(): AttachmentFailure {
  return new AttachmentFailure('the store sent another size than it announced', 'transient')
}

function measure(sizeBytes: number, progress: () => void): Transform {
  let gotBytes = 0
  const wrong = () => new AttachmentFailure('the file to be stored has another size than announced', 'permanent')
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      gotBytes += piece.length
      progress()
      if (gotBytes > sizeBytes) done(wrong())
      else done(null, piece)
    },
    flush(done) {
      done(gotBytes === sizeBytes ? null : wrong())
    },
  })
}
