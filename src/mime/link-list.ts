/**
 * Adds links to a mail in the place of attachments that were put out of it: a list at the end of its html and of its
 * plain text. What stood there before stays as it was, character by character. Pure.
 */
import type { Content } from '../messages/message.js'
import { bodiesOf } from './structure.js'

export interface FileLink {
  /** Of the client, any text. */
  readonly filename: string
  readonly sizeBytes: number
  /** A URL without spaces and quotes. */
  readonly url: string
  /** How long the link can be followed, epoch ms. */
  readonly until: number
}

const HEADING = 'Attachments of this message, to download:'

/** Both bodies get the list where both are there; a mail with neither becomes plain text. */
export function withLinks(content: Content, links: readonly FileLink[]): Content {
  if (links.length === 0) return content
  const { text, html } = bodiesOf(content)
  const { body: _, ...rest } = content
  return {
    ...rest,
    ...(html === undefined ? {} : { bodyHtml: withHtmlLinks(html, links) }),
    ...(text === undefined && html !== undefined ? {} : { bodyText: withTextLinks(text ?? '', links) }),
  }
}

/** As people read it: «2.0 MB». */
export function megabytes(octets: number): string {
  return `${(octets / 1024 / 1024).toFixed(1)} MB`
}

function withTextLinks(text: string, links: readonly FileLink[]): string {
  const rows = links.map(({ filename, sizeBytes, url, until }) => ({
    name: shownName(filename),
    size: megabytes(sizeBytes),
    until: `until ${shownTime(until)}`,
    url,
  }))
  const nameWidth = Math.max(...rows.map(row => Math.min(row.name.length, MOST_NAME)))
  const sizeWidth = Math.max(...rows.map(row => row.size.length))
  const blocks = rows.map(
    row => `  ${row.name.padEnd(nameWidth)}  ${row.size.padStart(sizeWidth)}  ${row.until}\n  ${row.url}\n`,
  )
  const gap = text === '' ? '' : /\n$/.test(text) ? '\n' : '\n\n'
  return `${text}${gap}${HEADING}\n\n${blocks.join('\n')}`
}

/** Names longer than this stand out of the column. */
const MOST_NAME = 40

/** Styles stand at the elements and a colour beside each background: mail clients drop style sheets and turn dark. */
function withHtmlLinks(html: string, links: readonly FileLink[]): string {
  const items = links.map(
    ({ filename, sizeBytes, url, until }) =>
      `<li style="margin:0 0 6px 0">\n<a href="${escapeHtml(url)}" style="color:#0b5cad">${escapeHtml(shownName(filename))}</a>\n` +
      `<span style="color:#57606a">(${megabytes(sizeBytes)}), until ${shownTime(until)}</span></li>\n`,
  )
  const list =
    '\n<div style="margin:24px 0 0 0;padding:12px 16px;border:1px solid #d0d7de;background-color:#f6f8fa;' +
    'color:#24292f;\nfont-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:20px">\n' +
    `<p style="margin:0 0 8px 0">${HEADING}</p>\n` +
    `<ul style="margin:0;padding:0 0 0 20px">\n${items.join('')}</ul>\n</div>\n`
  const at = endOfBody(html)
  return `${html.slice(0, at)}${list}${html.slice(at)}`
}

/** Before the last `</body>` or `</html>` that is no comment's; what stands in an open comment would not be shown. */
function endOfBody(html: string): number {
  const marks = /<!--|<\/(body|html)\s*>/gi
  let body = -1
  let document = -1
  for (let mark = marks.exec(html); mark !== null; mark = marks.exec(html)) {
    if (mark[0] === '<!--') {
      const end = html.indexOf('-->', mark.index)
      if (end < 0) return firstOf(body, document, mark.index)
      marks.lastIndex = end
    } else if (mark[1]!.toLowerCase() === 'body') body = mark.index
    else document = mark.index
  }
  return firstOf(body, document, html.length)
}

function firstOf(body: number, document: number, end: number): number {
  if (body >= 0) return body
  return document >= 0 ? document : end
}

/** On one line and read from left to right: neither breaks nor signs that turn the direction of what follows. */
function shownName(filename: string): string {
  const name = filename
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/gu, '')
    .trim()
  return name === '' ? 'attachment' : name
}

function shownTime(at: number): string {
  return `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`)
}
