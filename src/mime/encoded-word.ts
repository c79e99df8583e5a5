/**
 * RFC 2047 encoded words: UTF-8, Q or B whichever is shorter, at most 75 characters, never cutting a character in two.
 */

const PREFIX_AND_SUFFIX = '=?utf-8?Q??='.length
const MAX_WORD = 75
/** Below this a word is not worth the rest of a line; it must hold the longest character, 12 in Q. */
const MIN_WORD = 30

/**
 * Encodes text as a list of encoded words; between them belongs one space or a fold, which readers drop.
 * `room` is what the first word may use of its line; where that is too little it is made for a line of its own.
 */
export function encodeWords(text: string, room = MAX_WORD): string[] {
  const bytes = Buffer.from(text)
  const asQ = costInQ(bytes, 0, bytes.length) <= 4 * Math.ceil(bytes.length / 3)
  const words: string[] = []
  let limit = payload(room < MIN_WORD ? MAX_WORD : Math.min(room, MAX_WORD), asQ)
  let start = 0
  let used = 0
  for (let i = 0; i < bytes.length; ) {
    const next = endOfCharacter(bytes, i)
    const cost = asQ ? costInQ(bytes, i, next) : next - i
    if (used + cost > limit) {
      words.push(word(bytes.subarray(start, i), asQ))
      limit = payload(MAX_WORD, asQ)
      start = i
      used = 0
    }
    used += cost
    i = next
  }
  if (start < bytes.length) words.push(word(bytes.subarray(start), asQ))
  return words
}

/** True for a token that is a whole, well-formed encoded word. */
export function isEncodedWord(token: string): boolean {
  return token.length <= MAX_WORD && /^=\?[A-Za-z0-9*_-]+\?[QqBb]\?[!->@-~]*\?=$/.test(token)
}

/** What a word of `length` characters can hold: characters in Q, octets in B. */
function payload(length: number, asQ: boolean): number {
  const characters = length - PREFIX_AND_SUFFIX
  return asQ ? characters : Math.floor(characters / 4) * 3
}

function word(bytes: Buffer, asQ: boolean): string {
  return asQ ? `=?utf-8?Q?${encodeQ(bytes)}?=` : `=?utf-8?B?${bytes.toString('base64')}?=`
}

function endOfCharacter(bytes: Buffer, start: number): number {
  let end = start + 1
  while (end < bytes.length && (bytes[end]! & 0xc0) === 0x80) end++
  return end
}

function costInQ(bytes: Buffer, start: number, end: number): number {
  let cost = 0
  for (let i = start; i < end; i++) cost += IN_Q[bytes[i]!]!.length
  return cost
}

function encodeQ(bytes: Buffer): string {
  let out = ''
  for (const byte of bytes) out += IN_Q[byte]
  return out
}

// The set allowed in every place, a phrase included (RFC 2047 §5 (3)); space is "_".
const IN_Q = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte)
  if (character === ' ') return '_'
  return /[A-Za-z0-9!*+/-]/.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
})
