import { defineConfig } from 'vitest/config'
import SlowestFirst from './test/support/slowest-first.js'

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // One more than the two processors of the machine that the time limit is for: a quarter of the time two of them waited.
    maxWorkers: 3,
    // A worker reads the product once, and not for each file anew: that was an eighth of a run. What a test changes of its
    // process (environment, spies) it puts back.
    isolate: false,
    sequence: { sequencer: SlowestFirst },
    globalSetup: ['./test/support/output-global.ts', './test/support/postgres-global.ts'],
    reporters: ['default', './test/support/closing-line.ts'],
  },
})
