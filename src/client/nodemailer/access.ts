/**
 * `disableFileAccess` and `disableUrlAccess` of Nodemailer, kept before it reads a content: in older versions its `normalize`
 * reads paths and URLs whatever they say (6.9.16, tried): only its own writing of a mail, not used here, obeys.
 */
import type { MailData } from './mail.js'

export interface Access {
  /** No content may come from a path. */
  readonly disableFileAccess?: boolean
  /** No content may come from a URL. */
  readonly disableUrlAccess?: boolean
}

export interface ForbiddenSource {
  readonly field: string
  readonly rule: keyof Access
}

/** The first content that would come from where it must not; null: none. */
export function forbiddenSource(data: MailData): ForbiddenSource | null {
  const { disableFileAccess, disableUrlAccess } = data
  if (!disableFileAccess && !disableUrlAccess) return null
  const contents: [string, unknown][] = [
    ['text', data.text],
    ['html', data.html],
    ['icalEvent', data.icalEvent],
    ...(data.attachments ?? []).map((each, i): [string, unknown] => [`attachments[${i}]`, each]),
  ]
  for (const [field, given] of contents) {
    const source = sourceOf((given as { content?: unknown } | null | undefined)?.content || given)
    if (source === 'url' && disableUrlAccess) return { field, rule: 'disableUrlAccess' }
    if (source === 'file' && disableFileAccess) return { field, rule: 'disableFileAccess' }
  }
  return null
}

/** As Nodemailer tells them apart. A stream has a path too, and is open already. */
function sourceOf(place: unknown): 'url' | 'file' | null {
  if (typeof place !== 'object' || place === null || typeof (place as { pipe?: unknown }).pipe === 'function')
    return null
  const { path, href } = place as { path?: unknown; href?: unknown }
  const given = path || href
  if (!given || /^data:/i.test(String(given))) return null
  return /^https?:\/\//i.test(String(given)) ? 'url' : 'file'
}
