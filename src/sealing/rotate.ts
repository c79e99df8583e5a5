/**
 * Changes the sealing key while processes are at work. First the database names the new key, in one unit that asks whether every
 * process has it; from then on nothing is committed under the old one (db/key-fence.ts). Then all that is sealed otherwise
 * is sealed anew, page by page, each page recorded with its progress. Killed at any moment, it goes on from there; two
 * at once do the same work and no harm.
 */
import { type Db, type Row, rowsParam, type Statement } from '../db/db.js'
import { keyFence, type SealedPlace, type SealedValue } from '../db/key-fence.js'
import type { Clock } from '../lib/clock.js'
import { AppError, ConfigError } from '../lib/errors.js'
import { sealedWith } from '../lib/seal.js'
import { type KeyHolder, listHolders, someoneLacks } from './holders.js'
import type { Keyring, RingKey } from './keyring.js'
import { keepLinkKeys } from './link-keys.js'
import { PLACES } from './places.js'
import { type Rotation, readRotation, recordProgress } from './rotation.js'

export interface RotationDeps {
  readonly db: Db
  readonly clock: Clock
  readonly ring: Keyring
  /** Tells the others which keys this process has now; null: there are no others. */
  readonly tell: (() => Promise<void>) | null
  /** By the clock on which processes say which keys they have. */
  steadyNow(): number
}

export interface KeyState {
  /** Ids. */
  readonly sealing: string
  readonly newest: string
  readonly known: readonly string[]
  readonly rotation: Rotation | null
  /** What is being gone through; null: nothing. */
  readonly place: string | null
  /** The processes that live, with the keys that each has; empty on SQLite. */
  readonly holders: readonly KeyHolder[]
}

export async function keyState({ db, ring, steadyNow }: RotationDeps): Promise<KeyState> {
  await readKeys(ring)
  const rotation = (await readRotation(db))?.rotation ?? null
  const place = rotation === null || rotation.finishedAt !== null ? undefined : PLACES[rotation.place]
  return {
    sealing: ring.keyId,
    newest: ring.keys().at(-1)!.keyId,
    known: ring.keys().map(key => key.keyId),
    rotation,
    place: place === undefined ? null : `${place.table}.${place.column}`,
    holders: await listHolders(db, steadyNow()),
  }
}

/**
 * Begins the change to the newest key, or goes on with the one that is under way, for about `forMs`. Rejects with
 * command_failed when there is no newer key, or a process that does not have it. Asked once more after its end, with the
 * same two keys, it changes nothing: who asks may have lost the answer.
 */
export async function rotate(deps: RotationDeps, forMs: number): Promise<KeyState> {
  const { db, clock, ring } = deps
  const until = clock.monotonic() + forMs
  await readKeys(ring)
  await deps.tell?.()
  const rotation = (await readRotation(db))?.rotation
  if (rotation === undefined || rotation.finishedAt !== null) {
    if (rotation !== undefined && isRepetition(ring, rotation)) return keyState(deps)
    await begin(deps)
  }
  for (;;) {
    const current = await readRotation(db)
    if (current === null || current.rotation.finishedAt !== null) return keyState(deps)
    // Begun by another one after this one had looked: what it sealed with the old key would stay.
    if (ring.keyCheck !== current.rotation.to) await ring.refresh()
    else await sealPage(deps, current.rotation, current.text)
    if (clock.monotonic() >= until) return keyState(deps)
  }
}

/** With the old key gone, or another one there, it is a change of its own, which has to be refused in words. */
function isRepetition(ring: Keyring, { from, to }: Rotation): boolean {
  const given = ring.keys().map(key => key.keyCheck)
  const isOfThese = given.includes(from) && given.every(check => check === from || check === to)
  return isOfThese && given.at(-1) === to && ring.keyCheck === to
}

/** A key file that cannot be used is for whoever asks to mend. */
async function readKeys(ring: Keyring): Promise<void> {
  try {
    await ring.refresh()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new AppError('command_failed', error.message, { cause: error })
  }
}

async function begin(deps: RotationDeps): Promise<void> {
  const { db, clock, ring, steadyNow } = deps
  const from = ring.keys().find(key => key.keyId === ring.keyId)
  const to = ring.keys().at(-1)!
  if (to.keyId === ring.keyId) {
    throw new AppError('command_failed', `there is no newer key than ${to.keyId}, which seals already: ${HOW}`)
  }
  if (from === undefined) throw new AppError('command_failed', `the key ${ring.keyId} that seals now is given no more`)
  const started: Rotation = {
    fromId: from.keyId,
    from: from.keyCheck,
    toId: to.keyId,
    to: to.keyCheck,
    startedAt: clock.now(),
    finishedAt: null,
    place: 0,
    after: null,
    resealed: 0,
    unreadable: 0,
  }
  // The record is written by whoever has named the key: of two at once the second finds it there.
  const isOurs = (to: string, mark: string) =>
    `exists (select 1 from meta where key = 'key_check' and value = ${to})
      and not exists (select 1 from meta where key = 'key_rotation' and value like '%' || ${mark} || '%')`
  const mark = `"to":"${to.keyCheck}"`
  const linkKeys = ring.linkKeys.all().filter(key => !key.equals(to.linkKey))
  await db.write([
    // Locked before it is asked who has the key: a process says so under the same lock, and looks which key seals.
    { sql: "select value from meta where key = 'key_check' @for_update", params: [] },
    {
      sql: `update meta set value = $1 where key = 'key_check' and value = $2 and not ${someoneLacks('$3', '$4')}`,
      params: [to.keyCheck, from.keyCheck, steadyNow(), ` ${to.keyId} `],
    },
    keepLinkKeys(linkKeys, to.seal, isOurs('$2', '$3'), [to.keyCheck, mark]),
    {
      sql: `insert into meta (key, value) select 'key_rotation', $1 where ${isOurs('$2', '$3')}
        on conflict (key) do update set value = excluded.value`,
      params: [JSON.stringify(started), to.keyCheck, mark],
    },
  ])
  await ring.refresh()
  if (ring.keyId !== to.keyId) await refuseUnknown(deps, to)
}

async function refuseUnknown({ db, steadyNow }: RotationDeps, to: RingKey): Promise<never> {
  const without = (await listHolders(db, steadyNow())).filter(({ keys }) => !keys.includes(to.keyId))
  const who = without.map(({ holder, ageMs }) => `${holder} (heard of ${Math.round(ageMs / 1000)} s ago)`)
  throw new AppError(
    'command_failed',
    who.length === 0
      ? 'the sealing key was changed by somebody else meanwhile: ask again'
      : `not every process has the key ${to.keyId} yet, and nothing was changed. Without it: ${who.join(', ')}. Give it to them (${HOW}); one that has ended is forgotten after 90 s`,
    { details: { without: without.map(({ holder }) => holder) } },
  )
}

const HOW =
  'put it last, behind the old one, into GMP_ENCRYPTION_KEY of every process, with a comma between them, and restart them one after another; or into the key file of the instance folder'

/** One page of one place, with what is known of it afterwards. */
async function sealPage({ db, clock, ring }: RotationDeps, rotation: Rotation, text: string): Promise<void> {
  const place = PLACES[rotation.place]
  if (place === undefined) {
    await db.write([recordProgress({ ...rotation, finishedAt: clock.now() }, text)])
    return
  }
  const rows = await db.read({ sql: place.page, params: [rotation.after ?? place.first] })
  const last = rows.at(-1)
  if (last === undefined) {
    await db.write([recordProgress({ ...rotation, place: rotation.place + 1, after: null }, text)])
    return
  }
  const found = rows.map(row => {
    const values = oldValues(place, row, rotation.toId)
    const replacements = values.flatMap(value => {
      const plain = opened(ring, value)
      return plain === null ? [] : [{ k: row.at, o: value.sealed, n: ring.seal(plain, value.context) }]
    })
    return { values, replacements }
  })
  const resealed = sum(found.map(({ replacements }) => replacements.length))
  const next = {
    ...rotation,
    after: last.at as number | string,
    resealed: rotation.resealed + resealed,
    unreadable: rotation.unreadable + sum(found.map(({ values }) => values.length)) - resealed,
  }
  // An update takes one value of a row: the second ones are for the next statement.
  const most = Math.max(...found.map(({ replacements }) => replacements.length))
  const statements = Array.from({ length: most }, (_, nth) =>
    replace(
      place,
      found.flatMap(({ replacements }) => replacements[nth] ?? []),
    ),
  )
  // Should the key be changed once more meanwhile, nothing of this page is written, and whoever asks begins anew.
  await db.write([...statements, recordProgress(next, text), keyFence(rotation.to)])
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0)
}

function oldValues(place: SealedPlace, row: Row, toId: string): readonly SealedValue[] {
  if (row.text === null) return []
  return place.values(row).filter(({ sealed }) => sealedWith(sealed) !== toId)
}

/** Null: no key opens it, it was altered, or it is none. */
function opened(ring: Keyring, { sealed, context }: SealedValue): string | null {
  try {
    return ring.open(sealed, context)
  } catch {
    return null
  }
}

/** Only where that very value still stands, whatever else has changed around it. A sealed value is like no other. */
function replace({ table, key, first, column, alsoSet }: SealedPlace, rows: readonly object[]): Statement {
  const sets = [`${column} = replace(${column}, g.o, g.n)`, ...(alsoSet === undefined ? [] : [alsoSet])]
  return {
    sql: `update ${table} set ${sets.join(', ')}
      from @rows($1: k ${first === '' ? 'text' : 'bigint'}, o text, n text) g where ${table}.${key} = g.k`,
    params: [rowsParam(rows)],
  }
}
