/** What a CPU profile of V8 says, by source file: a dump is megabytes, this is a table. */

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
    readonly children?: readonly number[]
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface Summary {
  readonly activeMs: number
  /** Share of the active time by file, the largest first: in the file itself, or in what it called of Node and packages. */
  readonly files: readonly { readonly file: string; readonly share: number }[]
}

const IDLE = '(idle)'
/** (program): native code that no JavaScript called, as the reading of sockets and the copying of messages between threads. */
const OF_THEIR_OWN = new Set(['(garbage collector)', '(program)', IDLE])

/** Time goes to the nearest caller in our own sources; garbage collection and what has no such caller stand for themselves. */
export function summarize({ nodes, samples, timeDeltas }: CpuProfile): Summary {
  const byId = new Map(nodes.map(node => [node.id, node]))
  const parents = new Map(nodes.flatMap(node => (node.children ?? []).map(child => [child, node.id] as const)))
  const fileOf = (id: number): string => {
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const { url } = byId.get(at)!.callFrame
      const own = /\/dist\/(.*)\.js$/.exec(url)?.[1]
      if (own !== undefined && !url.includes('/node_modules/')) return `src/${own}.ts`
    }
    const { functionName, url } = byId.get(id)!.callFrame
    if (OF_THEIR_OWN.has(functionName)) return functionName
    return url.includes('/node_modules/') ? '(packages)' : '(Node)'
  }
  const known = new Map(nodes.map(({ id }) => [id, fileOf(id)]))
  const times = new Map<string, number>()
  samples.forEach((id, i) => {
    const file = known.get(id)!
    times.set(file, (times.get(file) ?? 0) + timeDeltas[i]!)
  })
  times.delete(IDLE)
  const active = [...times.values()].reduce((sum, each) => sum + each, 0)
  const files = [...times].map(([file, time]) => ({ file, share: time / active })).sort((a, b) => b.share - a.share)
  return { activeMs: active / 1000, files }
}
