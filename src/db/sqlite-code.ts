/** SQLite's primary result codes (https://sqlite.org/rescode.html): those that this service tells apart. */
export const SqliteCode = {
  error: 1,
  busy: 5,
  locked: 6,
  readOnly: 8,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  constraint: 19,
  notADatabase: 26,
} as const

/** Of a failed `all` one driver tells SQLite's words alone, without their code. */
const WORDS: readonly (readonly [RegExp, number])[] = [
  [/^database is locked/, SqliteCode.busy],
  [/^database table is locked/, SqliteCode.locked],
  [/^attempt to write a readonly database/, SqliteCode.readOnly],
  [/^disk I\/O error/, SqliteCode.ioError],
  [/^database disk image is malformed|^malformed database schema/, SqliteCode.corrupt],
  [/^database or disk is full/, SqliteCode.full],
  [/^unable to open database file/, SqliteCode.cannotOpen],
  [/constraint failed/, SqliteCode.constraint],
  [/^file is not a database/, SqliteCode.notADatabase],
]

/** The primary result code of what a connection threw; null: no failure of SQLite, or none of these. */
export function sqliteCode(error: unknown): number | null {
  const { errcode, message } = error as { errcode?: number; message?: string }
  if (errcode !== undefined) return errcode & 0xff
  return WORDS.find(([words]) => words.test(message ?? ''))?.[1] ?? null
}
