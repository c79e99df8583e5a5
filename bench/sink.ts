/** Our SMTP sink as a process: `node sink.js PORT`. */
import { startSink } from '../test/support/smtp-sink.js'

await startSink({ port: Number(process.argv[2]), record: 'count' })
