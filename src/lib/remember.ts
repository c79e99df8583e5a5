/** A pure function of a text that remembers its answers. For few texts: nothing is ever forgotten. */
export function remember<T>(of: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>()
  return text => {
    let found = known.get(text)
    if (found === undefined) {
      found = of(text)
      known.set(text, found)
    }
    return found
  }
}
