/**
 * Lanes that found no place free, in the order in which they are tried when one comes free: immediate messages, then
 * those whose server answers, then the others; among them whoever waits longest.
 */
import type { Lane } from './lane.js'
import type { Places } from './places.js'

const TURNS = ['immediate', 'answering', 'troubled'] as const
type Turn = (typeof TURNS)[number]

export interface WaitingLanes {
  add(lane: Lane): void
  delete(lane: Lane): void
  isEmpty(): boolean
  /** An immediate message is among what waits. */
  isUrgent(): boolean
  /** The first of them, at most `count`. They go on waiting. */
  first(count: number): Lane[]
  /** Those for which a send that hangs may be broken off, each with whether it is for an immediate message. */
  worthRoom(): IterableIterator<{ readonly isImmediate: boolean }>
}

export function createWaitingLanes(places: Pick<Places, 'standing'>): WaitingLanes {
  /** By their turn when they were told so. */
  const waiting: Readonly<Record<Turn, Set<Lane>>> = {
    immediate: new Set(),
    answering: new Set(),
    troubled: new Set(),
  }

  const turnOf = (lane: Lane): Turn => {
    if (lane.isHeldUp || places.standing(lane.server) === 'bad') return 'troubled'
    return lane.buffer[0]?.priority === 0 ? 'immediate' : 'answering'
  }

  return {
    add(lane) {
      const turn = turnOf(lane)
      for (const each of TURNS) if (each !== turn) waiting[each].delete(lane)
      waiting[turn].add(lane)
    },
    delete(lane) {
      for (const turn of TURNS) waiting[turn].delete(lane)
    },
    isEmpty: () => waiting.immediate.size + waiting.answering.size + waiting.troubled.size === 0,
    isUrgent: () => waiting.immediate.size > 0,
    first(count) {
      const found: Lane[] = []
      for (const turn of TURNS) {
        for (const lane of waiting[turn]) {
          if (found.length >= count) return found
          const now = turnOf(lane)
          if (now === turn) {
            found.push(lane)
            continue
          }
          waiting[turn].delete(lane)
          waiting[now].add(lane)
        }
      }
      return found
    },
    *worthRoom() {
      // Not of a copy: very many may wait, and mostly the first is all that is asked for.
      for (const lanes of [waiting.immediate, waiting.answering]) {
        for (const lane of lanes) {
          const turn = turnOf(lane)
          if (turn !== 'troubled') yield { isImmediate: turn === 'immediate' || lane.frontier.priority === 0 }
        }
      }
    },
  }
}
