/** Credentials inside a message: sealed before the message is stored, bound to its tenant. */
import type { Sealer } from '../lib/sealer.js'
import type { Content } from './message.js'

/** The associated data under which a tenant's attachment credentials are sealed and opened. */
export function attachmentAuthContext(tenantId: string): string {
  return `attachment-auth:${tenantId}`
}

/** The same content where no attachment has credentials, as is usual. */
export function sealAttachmentAuth(content: Content, tenantId: string, sealer: Sealer): Content {
  if (content.attachments === undefined || !content.attachments.some(each => each.auth !== undefined)) return content
  const context = attachmentAuthContext(tenantId)
  return {
    ...content,
    attachments: content.attachments.map(each =>
      each.auth === undefined ? each : { ...each, auth: sealer.seal(JSON.stringify(each.auth), context) },
    ),
  }
}
