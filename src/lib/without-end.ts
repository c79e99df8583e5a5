/**
 * A text without a character at its end, however often it stands there. In one pass from the end: the expression for it
 * (`/=+$/`) begins anew at each place of a run that is not the end, and held the event loop for seconds at 64 KB.
 */
export function withoutEnd(text: string, character: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === character) end -= 1
  return text.slice(0, end)
}
