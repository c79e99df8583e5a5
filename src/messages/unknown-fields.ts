/** Names the fields that nobody will read, with the one that was probably meant. Cold path: most messages have none. */

export interface FieldWarning {
  readonly id: string | null
  readonly field: string
  readonly hint: string
}

/** A field that nobody reads; `meant` is a known one that looks like it. */
export interface UnknownField {
  readonly field: string
  readonly meant: string | null
}

export function warningOf(id: string | null, { field, meant }: UnknownField): FieldWarning {
  const hint = meant === null ? 'unknown field, ignored' : `unknown field, ignored; did you mean "${meant}"?`
  return { id, field, hint }
}

/** The same where nothing is ignored. */
export function sayUnknown({ field, meant }: UnknownField): string {
  return meant === null ? `unknown field ${field}` : `unknown field ${field}: did you mean "${meant}"?`
}

/** A message may be all unknown fields; more warnings than this about one help nobody. */
const MAX_UNKNOWN = 20

/** Appends each own key of `given` that is not in `known`, with `path` before its name. */
export function findUnknown(
  given: Readonly<Record<string, unknown>>,
  known: ReadonlySet<string>,
  path: string,
  unknown: UnknownField[],
): void {
  for (const field in given) {
    if (known.has(field)) continue
    if (unknown.length >= MAX_UNKNOWN) return
    unknown.push({ field: path + shorten(field), meant: field.length <= 40 ? nearest(normalise(field), known) : null })
  }
}

function nearest(field: string, known: ReadonlySet<string>): string | null {
  let best: string | null = null
  let least = Math.max(1, Math.floor(field.length / 3)) + 1
  for (const name of known) {
    const edits = distance(field, name)
    if (edits < least) {
      best = name
      least = edits
    }
  }
  return best
}

/** camelCase and kebab-case are what clients in other languages write most. */
function normalise(field: string): string {
  return field
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[-\s]/g, '_')
    .toLowerCase()
}

/** Levenshtein distance; inputs are at most 40 characters long. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}

function shorten(field: string): string {
  return field.length > 100 ? `${field.slice(0, 100)}…` : field
}
