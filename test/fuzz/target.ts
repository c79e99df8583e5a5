/** What is fuzzed: a function that is given octets, and throws when what it looks after does not hold for them. */

export interface FuzzTarget {
  readonly name: string
  /** Honest inputs, from which the others are made. */
  readonly seeds: readonly (string | Buffer)[]
  /** What the parser knows: pieces that are put in on purpose. */
  readonly words: readonly string[]
  /** As much as can come where it is used; absent: any number. */
  readonly mostOctets?: number
  run(octets: Buffer): void | Promise<void>
}

/** Between the fields of a target that takes several texts. */
export const FIELD = '\x1e'

/** The texts of an input, as many as asked for. */
export function fieldsOf(octets: Buffer, count: number): string[] {
  const fields = octets.toString('utf8').split(FIELD)
  return Array.from({ length: count }, (_, i) => fields[i] ?? '')
}

export function check(holds: boolean, what: string, ...shown: unknown[]): asserts holds {
  if (!holds) throw new Error([what, ...shown.map(each => JSON.stringify(each))].join(': '))
}

/** Passes over the errors that are stated; any other is a finding. */
export async function stated<T>(
  errors: readonly (abstract new (...args: never[]) => Error)[],
  work: () => T | Promise<T>,
) {
  try {
    return { ok: true as const, value: await work() }
  } catch (error) {
    if (!errors.some(each => error instanceof each)) throw error
    return { ok: false as const, error: error as Error }
  }
}
