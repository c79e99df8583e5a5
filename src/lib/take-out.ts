/**
 * Takes one out of a list that others keep in order; false: it does not stand there. For what comes and goes with each
 * message and refers to a mail: a Set would hold on to it for long after (docs/decisions/0053).
 */
export function takeOut<T>(list: T[], one: T): boolean {
  const at = list.indexOf(one)
  if (at === -1) return false
  list.splice(at, 1)
  return true
}
