/**
 * The Db port. A unit of work is a list of statements sent at once and applied atomically: no transaction stays open
 * while the service awaits anything else, so conditions live in the SQL (`where lease = $1`), never between queries.
 * SQL is written once for both databases; the few fragments that differ are macros, listed in dialect.ts.
 */

/** Octets go as they are, for columns of type @bytes; they come back as Uint8Array. */
export type Param = string | number | null | Uint8Array
export type Row = Record<string, unknown>
/** By the names of the columns of @each; what a row lacks is null. */
export type Rows = readonly Readonly<Record<string, Param | undefined>>[]

export interface Statement {
  /** One SQL statement with `$1…` placeholders and the macros of dialect.ts. */
  readonly sql: string
  readonly params: readonly Param[]
  /** What its @each stands for. */
  readonly rows?: Rows
  /**
   * How long PostgreSQL's answer may take at most, where less than its connections allow; Infinity: any time, whatever they
   * allow. Absent: as they do.
   */
  readonly answerWithinMs?: number
}

export interface Db {
  readonly dialect: 'sqlite' | 'postgres'
  /** Applies the statements in order, all or none. Resolves with each one's rows once the whole is durable. */
  write(unit: readonly Statement[]): Promise<Row[][]>
  /** Like write, but need not be durable against a power loss when it resolves (PostgreSQL: synchronous_commit off). */
  writeRelaxed(unit: readonly Statement[]): Promise<Row[][]>
  /** Reads committed state, beside the writers. */
  read(statement: Statement): Promise<Row[]>
  /**
   * Counts the writes to tenants and accounts, each when it is asked for and again when it is answered: while it stays the
   * same, what was read of them since is still true. null: others write them too (PostgreSQL).
   */
  recordsVersion(): number | null
  /** Tells the other processes on this database; a hint, it may get lost. No-op on SQLite. */
  notify(payload: string): void
  /** Listens for other processes' hints. */
  onNotify(listener: (payload: string) => void): void
  close(): Promise<void>
}

/** The same database, for whom a later answer is of no use. */
export function answeringWithin(db: Db, ms: number): Db {
  const limited = (statement: Statement) => ({ answerWithinMs: ms, ...statement })
  return {
    ...db,
    write: unit => db.write(unit.map(limited)),
    writeRelaxed: unit => db.writeRelaxed(unit.map(limited)),
    read: statement => db.read(limited(statement)),
  }
}

/** The statement could not be run because the database cannot be reached or is going away: worth trying again. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable'
}

/** Another process has the SQLite file for itself: a service, or a command for a moment. */
export class DatabaseTaken extends DatabaseUnavailable {
  override name = 'DatabaseTaken'
}

/** The database's disk is full: what was asked for was not written, and will not be until there is room. */
export class DatabaseFull extends DatabaseUnavailable {
  override name = 'DatabaseFull'
}

/**
 * Secrets in the unit were sealed with a key that has been replaced (key-fence.ts): nothing of it was written. Sealed
 * anew it may be written.
 */
export class SealingKeyChanged extends DatabaseUnavailable {
  override name = 'SealingKeyChanged'
}

/** A row stands against a unique key, or lacks another that it refers to: nothing of the unit was written. SQLite only. */
export class ConstraintViolated extends Error {
  override name = 'ConstraintViolated'
}

/** Rows as one JSON parameter, for the @rows macro. */
export function rowsParam(rows: readonly object[]): string {
  return JSON.stringify(rows)
}

/** Whole numbers as one JSON parameter, for the @keys macro. */
export function keysParam(keys: readonly number[]): string {
  return JSON.stringify(keys)
}
