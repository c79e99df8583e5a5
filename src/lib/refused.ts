/** A change to a record that its store refuses: which field is at fault, and a sentence about it. */
export interface Refused {
  readonly kind: 'refused'
  readonly field: string
  readonly problem: string
}

export function refused(field: string, problem: string): Refused {
  return { kind: 'refused', field, problem }
}
