/** The two ways a command ends badly: it failed (exit 1), or it was called wrongly (exit 2). */

/** The command could not do its work; the message is one sentence for a person. */
export class CliError extends Error {
  override name = 'CliError'
}

/** The command line makes no sense. */
export class UsageError extends CliError {
  override name = 'UsageError'
}

/** One line for stderr, whatever the message holds. */
export function errorLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const line = message.replace(/\s*[\r\n]+\s*/g, ' ').replace(/[\x00-\x1f\x7f-\x9f]/g, '?')
  return `Error: ${line.trim() || 'unknown'}`
}
