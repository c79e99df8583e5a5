/** One line on the terminal that tells what a long command is doing; nothing at all where nobody sits. */
import type { CliIo } from '../context.js'

export interface Progress {
  /** Replaces the line. */
  step(doing: string): void
  /** Removes it. */
  end(): void
}

export function createProgress({ terminal, err }: Pick<CliIo, 'terminal' | 'err'>): Progress {
  if (!terminal.stderr) return { step: () => {}, end: () => {} }
  return {
    step: doing => err(`\r\x1b[2K${doing} …`),
    end: () => err('\r\x1b[2K'),
  }
}
