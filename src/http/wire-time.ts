/** Instants as the wire has them. */

/** ISO 8601 in UTC, whole seconds: created_at and updated_at. */
export function isoTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** Unix seconds, whole. */
export function unixSeconds(ms: number): number {
  return Math.floor(ms / 1000)
}

/** Leaves out what is null: absent values are not sent. */
export function withoutNulls<T extends object>(record: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(
    Object.entries(record).filter(([, value]) => value !== null && value !== undefined),
  ) as never
}
