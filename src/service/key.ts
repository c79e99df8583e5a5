/**
 * The sealing key of this process. The database holds a check value of the key its secrets were sealed with; a process
 * with another key, or with none, does not start: it would answer with secrets it cannot read and seal new ones that
 * the others cannot.
 */
import { join } from 'node:path'
import { deriveLinkKey } from '../attachments/offload/link.js'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import { ConfigError } from '../lib/errors.js'
import { loadKey, loadOrMakeKey } from '../lib/key-file.js'
import { createSealer, keyCheckValue } from '../lib/seal.js'
import type { Sealer } from '../lib/sealer.js'

/** What is made of the key. */
export interface Keys {
  readonly sealer: Sealer
  /** Signs links to files. */
  readonly linkKey: Buffer
}

export async function openKeys(db: Db, config: Config): Promise<Keys> {
  const known = await readCheck(db)
  const key = chooseKey(config, known !== null)
  const mine = keyCheckValue(key)
  if (known === null) {
    await db.write([
      { sql: "insert into meta (key, value) values ('key_check', $1) on conflict (key) do nothing", params: [mine] },
    ])
  }
  // Read again: of two processes starting on an empty database only one key can be the first.
  if ((await readCheck(db)) !== mine) {
    throw new ConfigError(
      "the encryption key is not the one this database was sealed with: set GMP_ENCRYPTION_KEY (or the instance folder's key file) to that key",
    )
  }
  return { sealer: createSealer(key), linkKey: deriveLinkKey(key) }
}

function chooseKey({ encryptionKey, instance, database }: Config, sealed: boolean): Buffer {
  if (encryptionKey !== null) return encryptionKey
  if (instance.dir === null)
    throw new ConfigError('GMP_ENCRYPTION_KEY is not set and there is no instance folder to keep a key in')
  // One that is made for a sealed database would only hide that the right one is missing.
  if (!sealed) return loadOrMakeKey(instance.dir)
  const key = loadKey(instance.dir)
  if (key !== null) return key
  if (database.dialect === 'sqlite') {
    throw new ConfigError(
      `the encryption key is missing: this database holds sealed secrets, and there is no ${join(instance.dir, 'key')}. Bring that file back from a backup, or set GMP_ENCRYPTION_KEY to its content`,
    )
  }
  throw new ConfigError(
    'this PostgreSQL database holds sealed secrets and this instance has no key: set GMP_ENCRYPTION_KEY to the key the other instances use',
  )
}

async function readCheck(db: Db): Promise<string | null> {
  const [row] = await db.read({ sql: "select value from meta where key = 'key_check'", params: [] })
  return (row?.value as string | undefined) ?? null
}
