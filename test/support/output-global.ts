/** Vitest global set-up: the folder in which output.ts keeps what the product writes during the run. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export default async function setup(): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-output-'))
  process.env.GMP_TEST_OUTPUT = dir
  return () => rm(dir, { recursive: true, force: true })
}
