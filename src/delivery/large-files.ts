/** What a tenant wants of large attachments: a warning, an error, or links in their place (spec section 6.6). */
import type { FetchedAttachment } from '../attachments/fetch.js'
import type { FileLinkMade, LargeFile, OffloadOwner } from '../attachments/offload/offloader.js'
import { largeFileSettings } from '../attachments/offload/settings.js'
import type { Log } from '../lib/log.js'
import type { Content } from '../messages/message.js'
import { type FileLink, megabytes, withLinks } from '../mime/link-list.js'
import { isShownInHtml } from '../mime/structure.js'
import type { Tenant } from '../tenants/tenant.js'
import { Undeliverable } from './classify.js'

/** What the mail is made of. */
export interface Parts {
  readonly content: Content
  readonly attachments: readonly FetchedAttachment[]
}

export interface LargeFileDeps {
  readonly log: Log
  /** Puts a file where its recipients can fetch it. Throws AttachmentFailure that names it. */
  offload(file: LargeFile, owner: OffloadOwner, signal: AbortSignal): Promise<FileLinkMade>
}

/** Throws Undeliverable for what may not be sent, and AttachmentFailure for what cannot be put out. */
export async function handleLargeFiles(
  id: string,
  parts: Parts,
  tenant: Tenant,
  { log, offload }: LargeFileDeps,
  signal: AbortSignal,
): Promise<Parts> {
  const { content, attachments } = parts
  const settings = attachments.length === 0 ? null : largeFileSettings(tenant.largeFileConfig)
  if (settings === null) return parts
  const { action, maxBytes } = settings
  const large = attachments.filter(each => each.sizeBytes > maxBytes)
  switch (action) {
    case 'warn':
      for (const each of large) log.warning(`Message ${id}: ${sentence(each, maxBytes)}`, { tenant_id: tenant.id })
      return parts
    case 'reject':
      for (const each of large) throw new Undeliverable(sentence(each, maxBytes), 'attachment_too_large', true)
      return parts
    case 'rewrite': {
      // A picture that the html shows would be missing there: it stays.
      const out = large.filter(each => !isShownInHtml(content, each.contentId))
      const owner = { tenantId: tenant.id, config: tenant.largeFileConfig ?? {}, trusted: tenant.largeFilesTrusted }
      const links: FileLink[] = []
      for (const file of out) links.push({ ...file, ...(await offload(file, owner, signal)) })
      return { content: withLinks(content, links), attachments: attachments.filter(each => !out.includes(each)) }
    }
    default:
      return action satisfies never
  }
}

/** The predecessor's words. */
function sentence({ filename, sizeBytes }: FetchedAttachment, maxBytes: number): string {
  return `Attachment '${filename}' (${megabytes(sizeBytes)}) exceeds limit (${megabytes(maxBytes)})`
}
