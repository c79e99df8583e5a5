/** The contents of a message's attachments when it is sent. Only inline base64 so far; the other sources follow. */

import type { AttachmentRef } from '../messages/message.js'
import type { RenderedAttachment } from '../mime/attachment-part.js'

export async function fetchAttachments(refs: readonly AttachmentRef[]): Promise<RenderedAttachment[]> {
  return refs.map(ref => {
    const { filename, mimeType, contentId, storagePath } = ref
    return { filename, mimeType, contentId, content: Buffer.from(storagePath, 'base64') }
  })
}
