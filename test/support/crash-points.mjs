/**
 * The points of a message's journey, in a service whose modules were wrapped for it (crash-program.ts): kills the process at
 * the one it is told by CRASH_AT (`settle:before`), when it passes it for the CRASH_NTH time after SIGUSR2, or from the start
 * on where CRASH_ARMED is 1. Writes down in CRASH_TRACE what was under way. The service's own code knows nothing of it.
 */
import { openSync, writeSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

const { CRASH_AT, CRASH_NTH, CRASH_ARMED, CRASH_TRACE } = process.env

let left = Number(CRASH_NTH)
let isArmed = CRASH_ARMED === '1'
let trace = -1

/** One line a fact, in the order of time; the kernel keeps what was written when the process dies. */
function note(...words) {
  writeSync(trace, `${words.join(' ')}\n`)
}

function pass(point) {
  if (!isArmed || point !== CRASH_AT) return
  left -= 1
  if (left > 0) return
  note('died', point)
  process.kill(process.pid, 'SIGKILL')
}

/** Calls `work`, which may answer at once or later, between the two points of this name. */
function between(name, work) {
  pass(`${name}:before`)
  const answer = work()
  if (!(answer instanceof Promise)) {
    pass(`${name}:after`)
    return answer
  }
  return answer.then(value => {
    pass(`${name}:after`)
    return value
  })
}

/** An object with one of its functions put between two points. */
function withPoints(object, method, name, isAt = () => true) {
  const inner = object[method]
  return {
    ...object,
    [method]: (...args) => (isAt(...args) ? between(name, () => inner(...args)) : inner(...args)),
  }
}

/** What is noted stands there before the point after it. */
const noted = (work, ...words) =>
  work.then(answer => {
    note(...words)
    return answer
  })

/** As a word: when it was noted, epoch ms. */
const timed = { toString: () => String(Date.now()) }

function journalWithPoints(journal, isTable) {
  const { append, expect } = journal
  const noting = {
    ...journal,
    append(lease, claimed) {
      note('journal', claimed.seq)
      return append(lease, claimed)
    },
    expect(lease, claimed) {
      // In a file it is written at its dot alone.
      if (isTable) note('journal', claimed.seq)
      return expect(lease, claimed)
    },
  }
  return withPoints(noting, 'append', 'journal')
}

/** The acknowledgement is a unit like any other, known by what it says. */
function databaseWithPoints(db) {
  const isAcknowledgement = unit => unit.some(({ sql }) => sql.startsWith('update events set pending = 0'))
  const noting = {
    ...db,
    write: unit => (isAcknowledgement(unit) ? noted(db.write(unit), 'acknowledged', timed) : db.write(unit)),
  }
  return withPoints(noting, 'write', 'acknowledge', isAcknowledgement)
}

function posterWithPoints(poster) {
  const { post } = poster
  const noting = {
    ...poster,
    post(...posting) {
      note('posted', timed)
      return post(...posting)
    },
  }
  return withPoints(noting, 'post', 'report')
}

/** By module of the service and export, what stands in its place. */
const WRAPPED = {
  'db/open.js': {
    openDatabase:
      open =>
      async (...args) =>
        databaseWithPoints(await open(...args)),
  },
  'queue/enqueue.js': { enqueue: around('accept') },
  'queue/claim.js': { claimDue: around('claim') },
  'queue/doubt-journal.js': {
    createFileJournal: create => path => journalWithPoints(create(path), false),
    createTableJournal:
      create =>
      (...args) =>
        journalWithPoints(create(...args), true),
  },
  'queue/settle.js': {
    settleApart: settleApart =>
      async function* (...args) {
        pass('settle:before')
        for await (const each of settleApart(...args)) {
          if (each.refusal === null) note('settled', ...each.part.map(({ settlement }) => settlement.transition.seq))
          pass('settle:after')
          yield each
        }
      },
  },
  'attachments/fetch.js': { createAttachmentFetcher: create => deps => withPoints(create(deps), 'fetch', 'fetch') },
  'smtp/connection.js': { openConnection: around('connect') },
  'smtp/wire.js': { Wire: wireWithPoints },
  'reports/post.js': { createPoster: create => deps => posterWithPoints(create(deps)) },
}

function around(name) {
  return work =>
    (...args) =>
      between(name, () => work(...args))
}

const COMMANDS = { mail: /^MAIL /m, rcpt: /^RCPT /m, data: /^DATA\r$/m }

/** What is written at once is at several points at once: with PIPELINING a whole envelope, behind a final dot too. */
function wireWithPoints(Wire) {
  return class extends Wire {
    #isAtDot = false

    command(commands) {
      return this.#said(commands, () => super.command(commands))
    }

    write(content) {
      const text = content.toString('latin1')
      const dot = `\r\n${text}`.lastIndexOf('\r\n.\r\n')
      if (dot === -1) return between('body', () => super.write(content))
      return this.#said(text.slice(dot), () => {
        pass('dot:before')
        const answer = super.write(content)
        this.#isAtDot = true
        pass('dot:after')
        return answer
      })
    }

    #said(commands, say) {
      const names = Object.keys(COMMANDS).filter(name => COMMANDS[name].test(commands))
      for (const name of names) pass(`${name}:before`)
      const answer = say()
      for (const name of names) pass(`${name}:after`)
      return answer
    }

    /** The octets of a reply are here, and nobody has looked at them. */
    onData(chunk) {
      if (this.#isAtDot) pass('reply:before')
      super.onData(chunk)
    }

    async replies(...args) {
      const isFinal = this.#isAtDot
      const replies = await super.replies(...args)
      if (isFinal) {
        this.#isAtDot = false
        pass('reply:after')
      }
      return replies
    }
  }
}

/** By module of the service, the names of its exports that are wrapped. */
export const wrappedExports = Object.fromEntries(
  Object.entries(WRAPPED).map(([module, exports]) => [module, Object.keys(exports)]),
)

/** What stands in the place of an export of the service. */
export function wrap(module, name, original) {
  return WRAPPED[module][name](original)
}

if (CRASH_TRACE !== undefined && isMainThread) {
  trace = openSync(CRASH_TRACE, 'a')
  process.on('SIGUSR2', () => {
    isArmed = true
  })
}
