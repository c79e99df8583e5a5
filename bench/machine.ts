/** The machine a figure was taken on; without it a figure says nothing. */
import { cpus, release, totalmem, type } from 'node:os'

export function describeMachine(): string {
  const all = cpus()
  return `${all.length} × ${all[0]?.model.trim() ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}, Node ${process.versions.node}`
}
