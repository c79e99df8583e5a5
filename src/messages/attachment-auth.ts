/** Credentials inside a message: sealed before the message is stored, bound to its tenant. */
import { SEALED_PAGE, type SealedPlace } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'
import type { Content } from './message.js'

/** The associated data under which a tenant's attachment credentials are sealed and opened. */
export function attachmentAuthContext(tenantId: string): string {
  return `attachment-auth:${tenantId}`
}

/** Characters of contents looked at in one statement, so that it stays short; a single larger one is looked at alone. */
const PAGE_CHARACTERS = 8_000_000

/** Where contents have sealed values, in the middle of the rest. */
export const SEALED_IN_CONTENTS: readonly SealedPlace[] = [
  {
    table: 'contents',
    key: 'seq',
    first: 0,
    column: 'content',
    // In texts of the client the quotes would have a backslash before them.
    page: `select c.seq as at, m.tenant_id, case when c.content like '%"auth":"ENC:%' then c.content end as text
      from (select seq, sum(size) over (order by seq) - size as before
        from (select seq, size from contents where seq > $1 order by seq limit ${SEALED_PAGE}) s) p
      join contents c on c.seq = p.seq join messages m on m.seq = p.seq
      where p.before < ${PAGE_CHARACTERS} order by c.seq`,
    values({ text, tenant_id }) {
      const { attachments = [] } = JSON.parse(text as string) as Content
      const context = attachmentAuthContext(tenant_id as string)
      return attachments.flatMap(({ auth }) => (typeof auth === 'string' ? [{ sealed: auth, context }] : []))
    },
  },
]

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
