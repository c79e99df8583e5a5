/**
 * The sealing keys of this process at its start. The database holds a check value of the key that seals its secrets; a
 * process without that key does not start: it would answer with secrets it cannot read and seal new ones that the
 * others cannot. Nor does one without the key before it, as long as not all is sealed anew.
 */
import { join } from 'node:path'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import { ConfigError } from '../lib/errors.js'
import { loadKeys, loadOrMakeKeys } from '../lib/key-file.js'
import type { Log } from '../lib/log.js'
import { keyCheckValue } from '../lib/seal.js'
import { createKeyring, type Keyring } from '../sealing/keyring.js'
import { readKeyCheck, readRotation } from '../sealing/rotation.js'

export async function openKeys(db: Db, config: Config, log: Log): Promise<Keyring> {
  const known = await readKeyCheck(db)
  const keys = chooseKeys(config, known !== null)
  if (known === null) {
    await db.write([
      {
        sql: "insert into meta (key, value) values ('key_check', $1) on conflict (key) do nothing",
        params: [keyCheckValue(keys.at(-1)!)],
      },
    ])
  }
  // Read again: of two processes starting on an empty database only one key can be the first.
  const check = await readKeyCheck(db)
  if (!keys.some(key => keyCheckValue(key) === check)) {
    throw new ConfigError(
      "the encryption key is not the one this database was sealed with: set GMP_ENCRYPTION_KEY (or the instance folder's key file) to that key",
    )
  }
  const rotation = (await readRotation(db))?.rotation
  if (rotation !== undefined && rotation.finishedAt === null) {
    const { fromId, from, toId } = rotation
    if (!keys.some(key => keyCheckValue(key) === from)) {
      throw new ConfigError(
        `the change of the encryption key from ${fromId} to ${toId} is not finished, and the key ${fromId} is missing: give both until \`mail-proxy <instance> rotate-key\` has come to its end`,
      )
    }
  }
  const ring = createKeyring(
    db,
    () => config.encryptionKeys ?? loadKeys(config.instance.dir!) ?? keys,
    error => log.warning(`The keys of links from before do not open, those links are dead: ${error.message}`),
  )
  await ring.refresh()
  return ring
}

function chooseKeys({ encryptionKeys, instance, database }: Config, sealed: boolean): readonly Buffer[] {
  if (encryptionKeys !== null) return encryptionKeys
  if (instance.dir === null)
    throw new ConfigError('GMP_ENCRYPTION_KEY is not set and there is no instance folder to keep a key in')
  // One that is made for a sealed database would only hide that the right one is missing.
  if (!sealed) return loadOrMakeKeys(instance.dir)
  const keys = loadKeys(instance.dir)
  if (keys !== null) return keys
  if (database.dialect === 'sqlite') {
    throw new ConfigError(
      `the encryption key is missing: this database holds sealed secrets, and there is no ${join(instance.dir, 'key')}. Bring that file back from a backup, or set GMP_ENCRYPTION_KEY to its content`,
    )
  }
  throw new ConfigError(
    'this PostgreSQL database holds sealed secrets and this instance has no key: set GMP_ENCRYPTION_KEY to the key the other instances use',
  )
}
