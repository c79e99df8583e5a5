/**
 * The client's types against the schemas of which the API's description is made. Nothing here runs: `npm run types`
 * fails where one of the two has what the other has not.
 */
import type { Static, TSchema } from 'typebox'
import type * as client from '../../src/client/index.js'
import type { AccountInfo, AccountPayload } from '../../src/http/account-record.js'
import type { DocumentedSubmission } from '../../src/http/routes/message-fields.js'
import type { MessageRecord, Submitted } from '../../src/http/routes/message-schemas.js'
import type { TenantInfo, TenantPayload } from '../../src/http/tenant-record.js'
import type { VolumeInfo, VolumeListed, VolumePayload } from '../../src/http/volume-record.js'

type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T
/** What the client lets an application say is what the service understands. */
type Understood<Said extends Mutable<Static<S>>, S extends TSchema> = Said
/** What the service answers is what the client says it does. */
type Answered<S extends TSchema, Promised extends Static<S>> = [S, Promised]

export type Checks = [
  Understood<Mutable<client.AccountInput>, typeof AccountPayload>,
  Understood<Mutable<client.TenantInput>, typeof TenantPayload>,
  Understood<Mutable<client.VolumeInput>, typeof VolumePayload>,
  Understood<Mutable<client.MessageInput>, (typeof DocumentedSubmission)['properties']['messages']['items']>,
  Answered<typeof AccountInfo, client.Account>,
  Answered<typeof TenantInfo, client.Tenant>,
  Answered<typeof VolumeInfo, client.Volume>,
  Answered<typeof VolumeListed, client.VolumeListed>,
  // Statuses are a closed list for the client and a described text in the document.
  Answered<typeof MessageRecord, client.MessageRecord>,
  Answered<typeof Submitted, client.Submission & { ok: true }>,
]
