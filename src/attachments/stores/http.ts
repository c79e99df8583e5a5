/** Files below a URL, read only: `GET <base_url>/<path>`. */
import { withoutEnd } from '../../lib/without-end.js'
import { AttachmentFailure } from '../failure.js'
import { getFollowing, openDispatcher } from '../http-get.js'
import { encodedKeyOf } from './path.js'
import type { Settings } from './settings.js'
import type { Store, StoreAccess } from './store.js'
import { receive } from './transfer.js'

export function openHttp(settings: Settings, access: StoreAccess): Store {
  const base = withoutEnd(settings.required('base_url'), '/')
  const headers = { ...settings.headers('headers'), ...authorization(settings.object('auth') ?? {}) }
  const dispatcher = openDispatcher(access.guard, access.timeoutMs)
  return {
    get: (path, signal) =>
      receive(access, signal, async watched => {
        const url = new URL(`${base}/${encodedKeyOf(undefined, path)}`)
        return getFollowing(dispatcher, url, headers, watched)
      }),
    async put() {
      throw new AttachmentFailure('an http store is read only', 'permanent')
    },
    async remove() {
      throw new AttachmentFailure('an http store is read only', 'permanent')
    },
    link: async () => null,
    close: () => void dispatcher.destroy(),
  }
}

/** Checked with the config: the method is one of the three and has what it needs. */
function authorization(auth: Readonly<Record<string, unknown>>): Record<string, string> {
  if (auth.method === 'bearer') return { authorization: `Bearer ${auth.token}` }
  if (auth.method !== 'basic') return {}
  return { authorization: `Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString('base64')}` }
}
