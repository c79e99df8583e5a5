/**
 * Blobs of an Azure container, by account key, connection string or SAS token; with none of them the container must be
 * public. The machine's managed identity is not used: @azure/identity is larger than all of this. Links need the account
 * key. Run against Azurite in the tests (when it can be had), never against Azure itself.
 */
import type { Agent } from 'node:http'
import type { Readable } from 'node:stream'
import {
  AnonymousCredential,
  BlobSASPermissions,
  BlobServiceClient,
  type StoragePipelineOptions,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import type { Agents } from '../../lib/guarded-http.js'
import { closeAgents, openAgents } from './agents.js'
import { keyOf, savedAs } from './path.js'
import type { Settings } from './settings.js'
import { MAX_LINK_MS, type Store, type StoreAccess } from './store.js'
import { call, receive, send } from './transfer.js'

export function openAzure(settings: Settings, access: StoreAccess): Store {
  const agents = openAgents(access)
  const container = serviceClient(settings, agents).getContainerClient(settings.required('container'))
  const blob = (path: string) => container.getBlockBlobClient(keyOf(settings.text('prefix'), path))

  return {
    get: (path, signal) =>
      receive(access, signal, async abortSignal => {
        const answer = await blob(path).download(0, undefined, { abortSignal, maxRetryRequests: 0 })
        return { sizeBytes: answer.contentLength ?? null, body: answer.readableStreamBody as Readable }
      }),
    put: (file, signal) =>
      send(access, signal, file, async (body, abortSignal) => {
        await blob(file.path).upload(body, file.sizeBytes, {
          abortSignal,
          blobHTTPHeaders: { blobContentType: file.mimeType, blobContentDisposition: savedAs(file.filename) },
        })
      }),
    remove: (path, signal) =>
      call(access, signal, async abortSignal => {
        await blob(path).deleteIfExists({ abortSignal })
      }),
    link: (path, filename, expiresAt) =>
      call(access, new AbortController().signal, async () => {
        const expires = Math.min(expiresAt, Date.now() + MAX_LINK_MS)
        // A link made of a SAS token of the config would give away the token.
        if (!(container.credential instanceof StorageSharedKeyCredential) || expires <= Date.now()) return null
        return blob(path).generateSasUrl({
          permissions: BlobSASPermissions.parse('r'),
          expiresOn: new Date(expires),
          contentDisposition: savedAs(filename),
        })
      }),
    close: () => closeAgents(agents),
  }
}

function serviceClient(settings: Settings, agents: Agents): BlobServiceClient {
  const connectionString = settings.text('connection_string')
  if (connectionString !== undefined) {
    // Opened twice: which agent it needs stands in the URL that the client makes of it.
    const { url } = BlobServiceClient.fromConnectionString(connectionString)
    return BlobServiceClient.fromConnectionString(connectionString, options(agentFor(url, agents)))
  }
  const account = settings.text('account_name')
  const endpoint = settings.text('endpoint') ?? `https://${account}.blob.core.windows.net`
  const key = settings.text('account_key')
  const sas = settings.text('sas_token')?.replace(/^\?/, '')
  const credential =
    account !== undefined && key !== undefined
      ? new StorageSharedKeyCredential(account, key)
      : new AnonymousCredential()
  return new BlobServiceClient(
    sas === undefined ? endpoint : `${endpoint}?${sas}`,
    credential,
    options(agentFor(endpoint, agents)),
  )
}

function agentFor(url: string, agents: Agents): Agent {
  return url.startsWith('https:') ? agents.https : agents.http
}

/**
 * The agent goes before proxies, also one named in a connection string. Of another protocol than the URL it lets nothing
 * through at all. Neither it nor `redirectOptions` is in the types, though the pipeline takes both.
 */
function options(agent: Agent): StoragePipelineOptions {
  const all = { agent, redirectOptions: { maxRetries: 0 }, retryOptions: { maxTries: 1 } }
  return all
}
