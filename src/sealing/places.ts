/** Every place of the database that holds sealed values, in the order in which they are sealed anew. */
import { SEALED_IN_ACCOUNTS } from '../accounts/row.js'
import type { SealedPlace } from '../db/key-fence.js'
import { SEALED_IN_INSTANCE } from '../http/instance.js'
import { SEALED_IN_CONTENTS } from '../messages/attachment-auth.js'
import { SEALED_IN_TOKENS } from '../oauth/token-store.js'
import { SEALED_IN_OFFLOADS } from '../offloads/store.js'
import { SEALED_IN_TENANTS } from '../tenants/row.js'
import { SEALED_IN_VOLUMES } from '../volumes/row.js'
import { SEALED_IN_LINK_KEYS } from './link-keys.js'

// A change that is under way remembers where it is by the place in this list: a new one goes to the end.
export const PLACES: readonly SealedPlace[] = [
  ...SEALED_IN_INSTANCE,
  ...SEALED_IN_LINK_KEYS,
  ...SEALED_IN_TENANTS,
  ...SEALED_IN_ACCOUNTS,
  ...SEALED_IN_TOKENS,
  ...SEALED_IN_VOLUMES,
  ...SEALED_IN_OFFLOADS,
  ...SEALED_IN_CONTENTS,
]
