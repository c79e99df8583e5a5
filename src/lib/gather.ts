/**
 * Joins calls into one, as a group commit does: what is called while earlier calls are under way waits for one of them to
 * end and then goes together. Alone a call goes at once, so that gathering costs no time where there is nothing to gather.
 */

export interface GatherOptions {
  /** Most items of calls that go together; a call that has more goes alone. */
  readonly most: number
  /** How many may be under way at once, joined or not; the fewer, the more is joined. */
  readonly atOnce: number
}

interface Call<T, A> {
  readonly items: readonly T[]
  resolve(answers: readonly A[]): void
  reject(error: unknown): void
}

/**
 * `work` answers one an item, in order, and must not mind whose items they are. Should it fail for calls that were joined
 * it is asked for each by itself, so that what is wrong with one does not fail the others.
 */
export function gather<T, A>(
  work: (items: readonly T[]) => Promise<readonly A[]>,
  { most, atOnce }: GatherOptions,
): (items: readonly T[]) => Promise<readonly A[]> {
  let waiting: Call<T, A>[] = []
  let running = 0

  const next = () => {
    while (running < atOnce && waiting.length > 0) {
      let count = 1
      let size = waiting[0]!.items.length
      while (count < waiting.length && size + waiting[count]!.items.length <= most) {
        size += waiting[count]!.items.length
        count += 1
      }
      const calls = waiting.slice(0, count)
      waiting = waiting.slice(count)
      running += 1
      void run(calls)
    }
  }

  const run = async (calls: readonly Call<T, A>[]) => {
    try {
      const answers = await work(calls.length === 1 ? calls[0]!.items : calls.flatMap(each => each.items))
      let at = 0
      for (const { items, resolve } of calls) {
        resolve(answers.slice(at, at + items.length))
        at += items.length
      }
    } catch (error) {
      if (calls.length === 1) calls[0]!.reject(error)
      else for (const { items, resolve, reject } of calls) work(items).then(resolve, reject)
    }
    running -= 1
    next()
  }

  return items =>
    new Promise((resolve, reject) => {
      waiting.push({ items, resolve, reject })
      next()
    })
}
