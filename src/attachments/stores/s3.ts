/**
 * Objects of a bucket in S3 or a server that speaks its protocol (`endpoint`). Without keys in the config: the standard
 * chain of credentials for whom the machine's are meant, else anonymous requests. The client retries nothing, the queue
 * does. Run against s3rver in the tests, never against AWS itself.
 */
import type { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { closeAgents, openAgents } from './agents.js'
import { keyOf, savedAs } from './path.js'
import type { Settings } from './settings.js'
import { MAX_LINK_MS, type Store, type StoreAccess } from './store.js'
import { call, receive, send } from './transfer.js'

export function openS3(settings: Settings, access: StoreAccess): Store {
  const bucket = settings.required('bucket')
  const agents = openAgents(access)
  const anonymous =
    settings.text('access_key_id') === undefined && (!access.ambient || settings.flag('anonymous') === true)
  const client = new S3Client({
    ...location(settings, access),
    ...(anonymous ? ANONYMOUS : credentials(settings)),
    // It makes agents of its own for `Expect: 100-continue` unless it is given finished ones.
    requestHandler: { httpAgent: agents.http, httpsAgent: agents.https },
    maxAttempts: 1,
    // Without one its middleware writes warnings to the console.
    logger: SILENT,
    // Else the mode may be asked of the machine's metadata service.
    defaultsMode: 'legacy',
    // Checksums in trailers are not known to every server that speaks S3.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  const object = (path: string) => ({ Bucket: bucket, Key: keyOf(settings.text('prefix'), path) })

  return {
    get: (path, signal) =>
      receive(access, signal, async abortSignal => {
        const { Body, ContentLength } = await client.send(new GetObjectCommand(object(path)), { abortSignal })
        return { sizeBytes: ContentLength ?? null, body: Body as Readable }
      }),
    put: (file, signal) =>
      send(access, signal, file, async (body, abortSignal) => {
        const command = new PutObjectCommand({
          ...object(file.path),
          Body: body(),
          ContentLength: file.sizeBytes,
          ContentType: file.mimeType,
          ContentDisposition: savedAs(file.filename),
        })
        await client.send(command, { abortSignal })
      }),
    // S3 answers 204 for an object that is not there.
    remove: (path, signal) =>
      call(access, signal, async abortSignal => {
        await client.send(new DeleteObjectCommand(object(path)), { abortSignal })
      }),
    link: (path, filename, expiresAt) =>
      call(access, new AbortController().signal, async () => {
        // Signed with the machine's temporary credentials it ends with those, which may be sooner.
        const expiresIn = Math.floor(Math.min(MAX_LINK_MS, expiresAt - Date.now()) / 1000)
        if (anonymous || expiresIn < 1) return null
        const command = new GetObjectCommand({ ...object(path), ResponseContentDisposition: savedAs(filename) })
        return getSignedUrl(client, command, { expiresIn })
      }),
    close() {
      client.destroy()
      closeAgents(agents)
    },
  }
}

const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

/** Unsigned requests: the signer hands them back as they are, and no chain of credentials is ever asked. */
const ANONYMOUS: S3ClientConfig = {
  credentials: { accessKeyId: 'anonymous', secretAccessKey: 'anonymous' },
  signer: { sign: async request => request },
}

function credentials(settings: Settings): S3ClientConfig {
  const accessKeyId = settings.text('access_key_id')
  const sessionToken = settings.text('session_token')
  if (accessKeyId === undefined) return {}
  return { credentials: { accessKeyId, secretAccessKey: settings.required('secret_access_key'), sessionToken } }
}

function location(settings: Settings, { ambient }: StoreAccess): S3ClientConfig {
  const endpoint = settings.text('endpoint')
  const region = settings.text('region')
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    // An admin's bucket may leave the region to the machine's settings; nobody else's reads them.
    ...(region === undefined && ambient && endpoint === undefined ? {} : { region: region ?? 'us-east-1' }),
    ...(ambient ? {} : { ignoreConfiguredEndpointUrls: true, useDualstackEndpoint: false, useFipsEndpoint: false }),
    // Names as hosts need a wildcard name in the DNS, which servers other than AWS seldom have.
    forcePathStyle: settings.flag('force_path_style') ?? endpoint !== undefined,
    followRegionRedirects: true,
  }
}
