/**
 * The end of this turn of the event loop, after what its sockets brought: first for work that was put off to be done
 * together, then for handing on what such work made. So both take one turn, where each would wait for one of its own.
 */
const work: (() => void)[] = []
const handing: (() => void)[] = []
let scheduled = false

export function beforeTurnEnds(each: () => void): void {
  work.push(each)
  schedule()
}

/** After all that was asked for by `beforeTurnEnds`. */
export function whenTurnEnds(each: () => void): void {
  handing.push(each)
  schedule()
}

function schedule(): void {
  if (scheduled) return
  scheduled = true
  setImmediate(run)
}

function run(): void {
  scheduled = false
  for (const queue of [work, handing]) {
    for (const each of queue.splice(0)) each()
  }
}
