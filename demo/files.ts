/**
 * The files that some of the shop's mails refer to instead of carrying them: one for each kind of source that needs
 * nothing but this machine. The service fetches each when it sends the mail.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Attachment } from './messages.js'

export interface DemoFiles {
  /** GMP_ATTACHMENT_BASE_DIR, and the root of the volume. */
  readonly dir: string
  readonly contents: ReadonlyMap<string, Buffer>
}

/** The volume an operator has set up. */
export const VOLUME = 'warehouse'
/** Of about 300 KB: large enough to be spooled and streamed. */
const SIZE = 300_000

/** One attachment for each source; `appUrl` is where the application serves files. */
export function fileReferences(appUrl: string): { readonly id: string; readonly attachment: Attachment }[] {
  const of = (kind: string, storage_path: string, fetch_mode?: Attachment['fetch_mode']) => ({
    id: `order-file-${kind}`,
    attachment: { filename: `${kind}.bin`, mime_type: 'application/octet-stream', storage_path, fetch_mode },
  })
  return [
    of('endpoint', 'endpoint.bin', 'endpoint'),
    of('url', `${appUrl}/files/url.bin`),
    // A tenant's key reads below the tenant's own directory.
    of('filesystem', 'filesystem.bin', 'filesystem'),
    of('volume', `${VOLUME}:volume.bin`),
  ]
}

/** Writes them where the service finds them. `tenantId`: whose directory it is. */
export async function prepareFiles(dir: string, tenantId: string): Promise<DemoFiles> {
  const names = ['endpoint.bin', 'url.bin', 'filesystem.bin', 'volume.bin']
  const contents = new Map(names.map(name => [name, randomBytes(SIZE)]))
  await mkdir(join(dir, tenantId), { recursive: true })
  await writeFile(join(dir, tenantId, 'filesystem.bin'), contents.get('filesystem.bin')!)
  await writeFile(join(dir, 'volume.bin'), contents.get('volume.bin')!)
  return { dir, contents }
}

/** What an attachment should hold when it arrives. */
export function contentOf({ storage_path: path }: Attachment, contents: ReadonlyMap<string, Buffer>): Buffer {
  if (path.startsWith('base64:')) return Buffer.from(path.slice('base64:'.length), 'base64')
  return contents.get(path.split(/[/:]/).at(-1) ?? '') ?? Buffer.alloc(0)
}
