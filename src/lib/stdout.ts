/**
 * Where the log of a service goes. Lines are gathered and written off the event loop, so a slow reader of stdout does not
 * stop the mail; whatever is left goes out when the process exits.
 *
 * The lines are made in logger.ts and only the writing is pino's: its own format is JSON with fixed keys, and the text form
 * would mean to parse each line again. Its destination (buffers, EAGAIN, broken pipes, flush at exit) is what is hard.
 */
import { pino } from 'pino'

const FLUSH_EVERY_MS = 100
/** Beyond this the reader of stdout is lost, and dropping lines beats running out of memory. */
const LONGEST_BACKLOG = 16 * 1024 * 1024

/** What writes a line to stdout, soon. */
export function openStdout(): (line: string) => void {
  const out = pino.destination({
    dest: 1,
    sync: false,
    minLength: 4096,
    maxLength: LONGEST_BACKLOG,
    periodicFlush: FLUSH_EVERY_MS,
  })
  // A full disk behind stdout must not end the process; the lines stay in the backlog and are tried again.
  out.on('error', () => {})
  return line => {
    out.write(line)
  }
}
