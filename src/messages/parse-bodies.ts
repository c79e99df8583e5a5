/** The bodies of a message: `body` with its `content_type`, or `body_text` and `body_html` as alternatives. */
import { type Reading, refuseInvalid, textField } from './fields.js'

export interface Bodies {
  readonly contentType: 'plain' | 'html'
  /** Absent when bodyText or bodyHtml is given. */
  readonly body?: string
  readonly bodyText?: string
  readonly bodyHtml?: string
  /** Characters together. */
  readonly length: number
}

/** A `body` beside one alternative takes the place of the other, so that nothing the client wrote is dropped. */
export function parseBodies(reading: Reading): Bodies {
  const body = textField(reading, 'body') ?? ''
  // An empty alternative is no alternative: clients send all their fields with '' for what they do not use.
  const text = textField(reading, 'body_text') || undefined
  const html = textField(reading, 'body_html') || undefined
  const contentType = readContentType(reading)
  if (text === undefined && html === undefined) return { contentType, body, length: body.length }

  const given = { plain: text, html }
  if (body !== '' && given[contentType] !== undefined && given[contentType] !== body) {
    refuseInvalid(reading, 'body', `given together with ${contentType === 'html' ? 'body_html' : 'body_text'}`)
  }
  if (body !== '') given[contentType] ??= body
  return {
    contentType: given.plain === undefined ? 'html' : 'plain',
    bodyText: given.plain,
    bodyHtml: given.html,
    length: (given.plain?.length ?? 0) + (given.html?.length ?? 0),
  }
}

/** `html`, `text/html` and the latter with parameters; anything else is plain, as it always was. */
function readContentType(reading: Reading): 'plain' | 'html' {
  const value = textField(reading, 'content_type')
  if (value === null || value === 'plain') return 'plain'
  const [type = ''] = value.split(';', 1)
  return /^\s*(text\/)?html\s*$/i.test(type.slice(0, 40)) ? 'html' : 'plain'
}
