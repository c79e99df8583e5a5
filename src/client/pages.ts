/** A list page by page. What is no page, or leads back to itself, ends it by an error: neither for ever, nor as if it were whole. */
import type { Call, CallOptions, Request } from './call.js'
import { MailProxyError } from './error.js'

type Page<F extends string, T> = Readonly<Record<F, T[]>> & { readonly next_cursor: string | null }

export interface PagesOf<F extends string> {
  readonly path: string
  readonly query: Request['query']
  /** The field that has the records. */
  readonly field: F
  /** The parameter that takes a page's `next_cursor`, which is the first one's where `query` has it. */
  readonly cursor: string
}

/** @throws MailProxyError `unexpected_answer`, besides what a call throws. */
export async function* pagesOf<P extends Page<F, unknown>, F extends string>(
  call: Call,
  { path, query, field, cursor }: PagesOf<F>,
  options?: CallOptions,
): AsyncGenerator<P, void, undefined> {
  let at = query?.[cursor]
  for (;;) {
    const page = await call<P>(
      { method: 'GET', path, query: { ...query, [cursor]: at }, repeatable: true, scoped: true },
      options,
    )
    const next: unknown = page.next_cursor
    if (!Array.isArray(page[field]) || !(next === null || (typeof next === 'string' && next !== at))) {
      const sentence = `GET ${path}: the answer is no page of ${field}; is this the service's address?`
      throw new MailProxyError('unexpected_answer', sentence)
    }
    yield page
    if (next === null) return
    at = next as string
  }
}
