/**
 * Joins calls into one, as a group commit does: what is called in one turn of the event loop goes together when that ends,
 * unless earlier calls are under way; then it waits for one of them to end.
 */
import { beforeTurnEnds } from './turn-end.js'

export interface GatherOptions {
  /** Most items of calls that go together; a call that has more goes alone. */
  readonly most: number
  /** How many may be under way at once, joined or not; the fewer, the more is joined. */
  readonly atOnce: number
  /** True of an error that has nothing to do with what was asked for: all calls that were joined fail with it. */
  readonly isCommon?: (error: unknown) => boolean
}

interface Call<T, A> {
  readonly items: readonly T[]
  /** How many of those that may be under way it takes the place of. */
  readonly width: number
  resolve(answers: readonly A[]): void
  reject(error: unknown): void
}

/**
 * `work` answers one an item, in order, and must not mind whose items they are. Should it fail for calls that were joined
 * it is asked for each by itself, so that what is wrong with one does not fail the others, unless it is common to all. Beside
 * a call with an item that `isExclusive` no other is under way.
 */
export function gather<T, A>(
  work: (items: readonly T[]) => Promise<readonly A[]>,
  { most, atOnce, isCommon = () => false }: GatherOptions,
  isExclusive: (item: T) => boolean = () => false,
): (items: readonly T[]) => Promise<readonly A[]> {
  let waiting: Call<T, A>[] = []
  let running = 0
  let isPutOff = false

  const putOff = () => {
    if (isPutOff || running === atOnce || waiting.length === 0) return
    isPutOff = true
    beforeTurnEnds(next)
  }

  const next = () => {
    isPutOff = false
    while (waiting.length > 0) {
      let count = 1
      let { width } = waiting[0]!
      let size = waiting[0]!.items.length
      while (count < waiting.length && size + waiting[count]!.items.length <= most) {
        size += waiting[count]!.items.length
        width = Math.max(width, waiting[count]!.width)
        count += 1
      }
      if (running + width > atOnce) return
      const calls = waiting.slice(0, count)
      waiting = waiting.slice(count)
      void run(calls, width)
    }
  }

  const run = async (calls: readonly Call<T, A>[], width: number) => {
    running += width
    try {
      const answers = await work(calls.length === 1 ? calls[0]!.items : calls.flatMap(each => each.items))
      let at = 0
      for (const { items, resolve } of calls) {
        resolve(answers.slice(at, at + items.length))
        at += items.length
      }
    } catch (error) {
      if (calls.length === 1 || isCommon(error)) for (const { reject } of calls) reject(error)
      else for (const { items, resolve, reject } of calls) work(items).then(resolve, reject)
    }
    running -= width
    putOff()
  }

  return items =>
    new Promise((resolve, reject) => {
      waiting.push({ items, width: items.some(isExclusive) ? atOnce : 1, resolve, reject })
      putOff()
    })
}
