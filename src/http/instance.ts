/** Settings of the instance as a whole (meta key `instance`): its name and the bounce mailbox, kept for later work. */
import type { Db } from '../db/db.js'
import { type SealedPlace, writeSealed } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'

export interface Instance {
  readonly name: string
  readonly bounceEnabled: boolean
  readonly bounceImapHost: string | null
  readonly bounceImapPort: number
  readonly bounceImapUser: string | null
  /** Sealed. */
  readonly bounceImapPassword: string | null
  readonly bounceImapFolder: string
  readonly bounceImapSsl: boolean
  readonly bouncePollInterval: number
  readonly bounceReturnPath: string | null
  readonly createdAt: number
  readonly updatedAt: number
}

export type InstancePatch = { -readonly [K in Exclude<keyof Instance, 'createdAt' | 'updatedAt'>]?: Instance[K] }

const BLANK: Instance = {
  name: 'mail-proxy',
  bounceEnabled: false,
  bounceImapHost: null,
  bounceImapPort: 993,
  bounceImapUser: null,
  bounceImapPassword: null,
  bounceImapFolder: 'INBOX',
  bounceImapSsl: true,
  bouncePollInterval: 60,
  bounceReturnPath: null,
  createdAt: 0,
  updatedAt: 0,
}

/** The defaults, made at `startedAt`, until something was set. */
export async function readInstance(db: Db, startedAt: number): Promise<Instance> {
  return (await readStored(db, startedAt)).instance
}

/** Sets the fields given; the IMAP password is given open. */
export async function changeInstance(db: Db, sealer: Sealer, given: InstancePatch, now: number): Promise<void> {
  const patch = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as InstancePatch
  for (;;) {
    const { instance, text } = await readStored(db, now)
    const next = () => {
      const open = patch.bounceImapPassword
      const sealed = typeof open === 'string' ? { bounceImapPassword: sealer.seal(open, PASSWORD_CONTEXT) } : {}
      return JSON.stringify({ ...instance, ...patch, ...sealed, updatedAt: Math.max(now, instance.updatedAt + 1) })
    }
    // Written only over what was read: two changes at once do not undo each other.
    const [rows] = await writeSealed(db, sealer, () => [
      text === null
        ? {
            sql: "insert into meta (key, value) values ('instance', $1) on conflict (key) do nothing returning key",
            params: [next()],
          }
        : {
            sql: "update meta set value = $1 where key = 'instance' and value = $2 returning key",
            params: [next(), text],
          },
    ])
    if (rows!.length === 1) return
  }
}

const PASSWORD_CONTEXT = 'instance:bounce_imap_password'

/** Where the instance's settings have a sealed value, in the middle of others. */
export const SEALED_IN_INSTANCE: readonly SealedPlace[] = [
  {
    table: 'meta',
    key: 'key',
    first: '',
    column: 'value',
    page: "select key as at, value as text from meta where key > $1 and key = 'instance'",
    values({ text }) {
      const { bounceImapPassword: sealed } = JSON.parse(text as string) as Partial<Instance>
      return sealed == null ? [] : [{ sealed, context: PASSWORD_CONTEXT }]
    },
  },
]

async function readStored(db: Db, createdAt: number): Promise<{ instance: Instance; text: string | null }> {
  const [row] = await db.read({ sql: "select value from meta where key = 'instance'", params: [] })
  const text = (row?.value as string | undefined) ?? null
  const stored = text === null ? {} : (JSON.parse(text) as Partial<Instance>)
  return { instance: { ...BLANK, createdAt, updatedAt: createdAt, ...stored }, text }
}
