import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    globalSetup: ['./test/support/output-global.ts', './test/support/postgres-global.ts'],
    reporters: ['default', './test/support/closing-line.ts'],
  },
})
