/** Who has a turn at which time, the earliest first: a binary heap, so that very many who wait cost nothing until then. */
export interface Turns<T> {
  add(who: T, at: number): void
  /** Removes and answers the earliest whose time has come; undefined: none. */
  take(now: number): T | undefined
  /** The earliest time; null: nobody waits. */
  readonly next: number | null
}

interface Turn<T> {
  readonly who: T
  readonly at: number
}

export function createTurns<T>(): Turns<T> {
  const heap: Turn<T>[] = []

  const swap = (a: number, b: number) => {
    const turn = heap[a]!
    heap[a] = heap[b]!
    heap[b] = turn
  }

  const isEarlier = (a: number, b: number) => heap[a]!.at < heap[b]!.at

  const sink = () => {
    let at = 0
    for (;;) {
      const left = 2 * at + 1
      if (left >= heap.length) return
      const least = left + 1 < heap.length && isEarlier(left + 1, left) ? left + 1 : left
      if (!isEarlier(least, at)) return
      swap(least, at)
      at = least
    }
  }

  return {
    add(who, at) {
      let place = heap.push({ who, at }) - 1
      while (place > 0) {
        const parent = (place - 1) >> 1
        if (!isEarlier(place, parent)) return
        swap(place, parent)
        place = parent
      }
    },
    take(now) {
      const [first] = heap
      if (first === undefined || first.at > now) return undefined
      const last = heap.pop()!
      if (heap.length > 0) {
        heap[0] = last
        sink()
      }
      return first.who
    },
    get next() {
      return heap[0]?.at ?? null
    },
  }
}
