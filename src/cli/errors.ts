/** The ways a command ends badly: it failed (exit 1), was called wrongly (exit 2), or was broken off (exit 130). */

/** The command could not do its work; the message is one sentence for a person. */
export class CliError extends Error {
  override name = 'CliError'
}

/** The command line makes no sense. */
export class UsageError extends CliError {
  override name = 'UsageError'
}

/** The person broke off at a question: nothing was done. */
export class Interrupted extends CliError {
  override name = 'Interrupted'
  constructor() {
    super('broken off, nothing was changed')
  }
}

/** The answer was shown and says that something is wrong: nothing more to print. */
export class ExitWith extends Error {
  override name = 'ExitWith'
  constructor(readonly code: 1 | 130) {
    super(`exit ${code}`)
  }
}

/** One line for stderr, whatever the message holds. */
export function errorLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const line = message.replace(/\s*[\r\n]+\s*/g, ' ').replace(/[\x00-\x1f\x7f-\x9f]/g, '?')
  return `Error: ${line.trim() || 'unknown'}`
}
