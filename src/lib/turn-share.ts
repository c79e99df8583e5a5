/**
 * Work of some milliseconds of which much may come in one turn of the event loop: all clients that one commit answers send
 * their next request at once. Each turn takes up as much of it as lasts a few milliseconds; the rest waits, in its order, and what
 * sockets bring meanwhile goes between.
 */
const SHARE_MS = 2

const waiting: (() => void)[] = []
/** When the first of this turn was taken up, monotonic; null: none was. */
let since: number | null = null
let isServing = false

/** Resolves when it is the caller's turn. What he does before he waits for something else counts. */
export function shareOfTurn(): Promise<void> {
  return new Promise(resolve => {
    waiting.push(resolve)
    if (!isServing) serve()
  })
}

/** Whether it is the turn of a caller who does all of his work now, else he waits for `shareOfTurn`. */
export function hasShareNow(): boolean {
  return !isServing && isSomeLeft()
}

/** Of this turn's share. */
function isSomeLeft(): boolean {
  if (since !== null) return performance.now() - since < SHARE_MS
  since = performance.now()
  setImmediate(beginAnew)
  return true
}

function serve(): void {
  isServing = waiting.length > 0
  if (!isServing || !isSomeLeft()) return
  waiting.shift()!()
  // After all that it does at once.
  queueMicrotask(() => process.nextTick(serve))
}

function beginAnew(): void {
  since = null
  serve()
}
