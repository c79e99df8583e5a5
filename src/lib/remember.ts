/**
 * A pure function of a text that remembers its answers. `most`: when it knows so many it forgets them all, for texts that
 * come again and again among others; a text longer than `longest` is not remembered.
 */
export function remember<T>(of: (text: string) => T, most = Infinity, longest = Infinity): (text: string) => T {
  const known = new Map<string, T>()
  return text => {
    let found = known.get(text)
    if (found === undefined) {
      found = of(text)
      if (text.length > longest) return found
      if (known.size >= most) known.clear()
      known.set(text, found)
    }
    return found
  }
}
