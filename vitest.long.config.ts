import { defineConfig } from 'vitest/config'
import base from './vitest.config.js'

/** The suites that take minutes, which `npm test` leaves out: `npm run test:fault` and its like run them. */
export default defineConfig({ test: { ...base.test, include: ['test/**/*.long.ts'], testTimeout: 1_800_000 } })
