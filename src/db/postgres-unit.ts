/**
 * A unit of work on one connection of `pg`: all its statements leave in one write, and the database answers them in one
 * piece. Without BEGIN and COMMIT: what the protocol runs up to its next Sync is one transaction, undone as a whole by
 * the first statement that fails. Awaited one by one a settle took six round trips, and its rows were locked for as long.
 *
 * A statement is prepared and described once a connection; pg itself asks for its columns at each call.
 */
import type { Duplex } from 'node:stream'
import pg from 'pg'
import type { Param, Row, Statement } from './db.js'

/** What of pg's connection a query object of one's own (as pg-cursor is one) may use. */
interface Wire {
  readonly stream: Duplex
  parse(statement: { name: string; text: string }): void
  describe(what: { type: 'S'; name: string }): void
  close(what: { type: 'S'; name: string }): void
  bind(what: { statement: string; values: readonly (string | Buffer | null)[] }): void
  execute(): void
  sync(): void
}

interface Prepared {
  readonly name: string
  columns: readonly { readonly name: string; readonly parse: (text: string) => unknown }[]
  uses: number
  /** It is prepared anew after so many uses. */
  readonly until: number
}

/**
 * A plan made while a table was small may look through all of it, and would be kept. So it is made anew after 10 uses, after
 * 100 more, after 1,000, then after each 10,000: without this submitting 50 into a growing queue cost the server 162 to 440 µs a
 * message, with it 100.
 */
const FIRST_PLAN = 10
const LONGEST_PLAN = 10_000

/** By connection and text. */
const prepared = new WeakMap<Wire, Map<string, Prepared>>()
let names = 0

/** Answers each statement's rows, once the transaction is committed. */
export function runUnit(client: pg.ClientBase, unit: readonly Statement[]): Promise<Row[][]> {
  return new Promise((resolve, reject) => {
    const plans: Prepared[] = []
    const results: Row[][] = [[]]
    /** Takes back what this unit prepared: after a failure nobody knows how far it came. */
    let forget = () => {}
    client.query({
      submit(connection: Wire) {
        const known = prepared.get(connection) ?? new Map<string, Prepared>()
        prepared.set(connection, known)
        const added: string[] = []
        forget = () => {
          for (const text of added) known.delete(text)
        }
        connection.stream.cork()
        for (const { sql, params } of unit) {
          let plan = known.get(sql)
          if (plan === undefined || plan.uses === plan.until) {
            if (plan !== undefined) connection.close({ type: 'S', name: plan.name })
            const until = plan === undefined ? FIRST_PLAN : Math.min(plan.until * 10, LONGEST_PLAN)
            // Never a name twice, also not after a failure.
            plan = { name: `q${names++}`, columns: [], uses: 0, until }
            known.set(sql, plan)
            added.push(sql)
            connection.parse({ name: plan.name, text: sql })
            connection.describe({ type: 'S', name: plan.name })
          }
          plan.uses += 1
          plans.push(plan)
          connection.bind({ statement: plan.name, values: params.map(asValue) })
          connection.execute()
        }
        connection.sync()
        connection.stream.uncork()
      },
      handleRowDescription({ fields }: { fields: pg.FieldDef[] }) {
        plans[results.length - 1]!.columns = fields.map(({ name, dataTypeID }) => ({
          name,
          parse: pg.types.getTypeParser(dataTypeID, 'text'),
        }))
      },
      handleDataRow({ fields }: { fields: (string | null)[] }) {
        const row: Row = {}
        for (const [i, { name, parse }] of plans[results.length - 1]!.columns.entries()) {
          const text = fields[i] ?? null
          row[name] = text === null ? null : parse(text)
        }
        results.at(-1)!.push(row)
      },
      handleCommandComplete() {
        results.push([])
      },
      handleReadyForQuery() {
        resolve(results.slice(0, unit.length))
      },
      handleError(error: Error) {
        forget()
        reject(error)
      },
    } as unknown as pg.Submittable)
  })
}

function asValue(param: Param): string | Buffer | null {
  if (typeof param === 'number') return String(param)
  if (param instanceof Uint8Array) return Buffer.from(param.buffer, param.byteOffset, param.byteLength)
  return param
}
