/**
 * The Log port: one line an event on stdout, as text for people or JSON for collectors (spec section 8).
 * Fields are identifiers and figures only; passwords, tokens, keys and bodies never go in.
 */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warning(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}
