/**
 * Keys of links that were signed before the sealing key was replaced (meta `link_keys`, sealed): the links in mails that
 * went out go on to work. An old one opens nothing by itself, a link names its file by 128 random bits too.
 */
import type { Db, Statement } from '../db/db.js'
import type { SealedPlace } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'

const CONTEXT = 'instance:link_keys'
/** Of so many keys before the present one. */
const MOST = 20

export async function readLinkKeys(db: Db, sealer: Sealer): Promise<readonly Buffer[]> {
  const [row] = await db.read({ sql: "select value from meta where key = 'link_keys'", params: [] })
  if (row === undefined) return []
  const keys = JSON.parse(sealer.open(row.value as string, CONTEXT)) as string[]
  return keys.map(key => Buffer.from(key, 'base64'))
}

/** `keys`: newest first, those before the one that comes. The SQL condition says whether they are kept. */
export function keepLinkKeys(
  keys: readonly Buffer[],
  seal: Sealer['seal'],
  condition: string,
  params: readonly string[],
): Statement {
  const list = JSON.stringify([...new Set(keys.map(key => key.toString('base64')))].slice(0, MOST))
  return {
    sql: `insert into meta (key, value) select 'link_keys', $1 where ${condition}
      on conflict (key) do update set value = excluded.value`,
    params: [seal(list, CONTEXT), ...params],
  }
}

export const SEALED_IN_LINK_KEYS: readonly SealedPlace[] = [
  {
    table: 'meta',
    key: 'key',
    first: '',
    column: 'value',
    page: "select key as at, value as text from meta where key > $1 and key = 'link_keys'",
    values: ({ text }) => [{ sealed: text as string, context: CONTEXT }],
  },
]
