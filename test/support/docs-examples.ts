/** Examples in documents: a block ```http with a request, then a block ```json (or text) with its answer. */

export interface Example {
  /** Of the request, from 1. */
  readonly line: number
  readonly method: string
  readonly path: string
  /** As written, so maybe a placeholder; '': none. */
  readonly token: string
  readonly body: string
  readonly status: number
  /** Parsed JSON; a text for a text block. */
  readonly answer: unknown
}

const PAIR = /^```http\n([\s\S]*?)^```\n\n```(json|text) (\d{3})\n([\s\S]*?)^```$/gm

export function examplesOf(text: string): Example[] {
  return [...text.matchAll(PAIR)].map(({ 1: request = '', 2: kind, 3: status, 4: answer = '', index }) => {
    const [head = '', ...rest] = request.split('\n\n')
    const [first = '', ...headers] = head.trim().split('\n')
    const [method = '', path = ''] = first.split(' ')
    return {
      line: text.slice(0, index).split('\n').length + 1,
      method,
      path,
      token: /^X-API-Token: (.+)$/m.exec(headers.join('\n'))?.[1] ?? '',
      body: rest.join('\n\n').trim(),
      status: Number(status),
      answer: kind === 'json' ? (answer.trim() === '' ? undefined : JSON.parse(answer)) : answer,
    }
  })
}

/** Texts that another run gives anew, and figures that it gives alike; all else is promised as written. */
const NEW_TEXT =
  /(_at|^pk|^api_key|^version|^remote|^cursor|^next_cursor|^host|^client_base_url|^conversation|^digest|^holder)$/
const SAME_FIGURE = /^(queued|removed|attempts|priority|n|start_hour|end_hour|interval_minutes|days|response_status)$/

/**
 * What is wrong with `actual` beside the documented answer, or null. Objects have the same fields; of a list each
 * documented element is like some actual one, for documents shorten lists; values that vary agree in their type.
 */
export function unlike(documented: unknown, actual: unknown, at = 'the answer', name = ''): string | null {
  if (typeof documented === 'string' && typeof actual === 'string' && name === '') return unlikeText(documented, actual)
  if (Array.isArray(documented)) {
    if (!Array.isArray(actual)) return `${at} is no list`
    for (const [i, each] of documented.entries()) {
      const problems = actual.map(other => unlike(each, other, `${at}[${i}]`, name))
      if (!problems.includes(null)) return problems[0] ?? `${at} is empty`
    }
    return documented.length === 0 && actual.length > 0 ? `${at} is not empty` : null
  }
  if (typeof documented === 'object' && documented !== null) {
    if (typeof actual !== 'object' || actual === null) return `${at} is no object`
    const fields = Object.entries(documented)
    const extra = Object.keys(actual).filter(key => !Object.hasOwn(documented, key))
    if (extra.length > 0) return `${at} also has ${extra.join(', ')}`
    for (const [key, value] of fields) {
      if (!Object.hasOwn(actual, key)) return `${at} has no ${key}`
      const problem = unlike(value, (actual as Record<string, unknown>)[key], `${at}.${key}`, key)
      if (problem !== null) return problem
    }
    return null
  }
  const varies = typeof documented === 'number' ? !SAME_FIGURE.test(name) : NEW_TEXT.test(name)
  if (varies ? typeof documented === typeof actual : Object.is(documented, actual)) return null
  return `${at} is ${JSON.stringify(actual)} and not ${JSON.stringify(documented)}`
}

/** Each documented line stands in the text, its figures aside. */
function unlikeText(documented: string, actual: string): string | null {
  const withoutFigures = (text: string) => text.replace(/ -?[\d.]+(e-?\d+)?$/gm, ' n')
  const lines = new Set(withoutFigures(actual).split('\n'))
  const missing = withoutFigures(documented)
    .trim()
    .split('\n')
    .find(line => !lines.has(line))
  return missing === undefined ? null : `the answer has no line "${missing}"`
}
