/** Opens the store that a volume's config describes. Clients of other companies are loaded here, when first needed. */
import { AttachmentFailure } from '../failure.js'
import { problemOfConfig } from './config-problem.js'
import { Settings, valuesOf } from './settings.js'
import type { Backend, Store, StoreAccess } from './store.js'

export { problemOfConfig } from './config-problem.js'

/** Connects to nothing yet. Throws AttachmentFailure when the config has a problem. */
export async function openStore(
  backend: Backend,
  config: Readonly<Record<string, unknown>>,
  access: StoreAccess,
): Promise<Store> {
  const problem = problemOfConfig(backend, config, access)
  if (problem !== null) throw new AttachmentFailure(`the config of its volume is wrong: ${problem}`, 'permanent')
  try {
    // Whatever the caller says: what a tenant set is no place to take the machine's credentials to.
    const ambient = access.ambient && access.guard === null
    return await opened(backend, new Settings(valuesOf(backend, config)), { ...access, ambient })
  } catch (error) {
    if (error instanceof AttachmentFailure) throw error
    // What only the client itself could see, like a connection string of another make.
    throw new AttachmentFailure('the config of its volume is wrong: the client refused it', 'permanent', {
      cause: error,
    })
  }
}

async function opened(backend: Backend, settings: Settings, access: StoreAccess): Promise<Store> {
  switch (backend) {
    case 's3':
      return (await import('./s3.js')).openS3(settings, access)
    case 'http':
      return (await import('./http.js')).openHttp(settings, access)
    case 'webdav':
      return (await import('./webdav.js')).openWebdav(settings, access)
    case 'local':
      return (await import('./local.js')).openLocal(settings, access)
    case 'gcs':
      return (await import('./gcs.js')).openGcs(settings, access)
    case 'azure':
      return (await import('./azure.js')).openAzure(settings, access)
    default:
      return backend satisfies never
  }
}
