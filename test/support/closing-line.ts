/**
 * Vitest reporter: ends the run with the plain line `N passed, N failed` that CI and people read. Each text of the product
 * in which a secret of the tests stands counts as failed, and is shown.
 */
import type { Reporter, TestModule } from 'vitest/node'
import { findSecrets } from './secrets.js'

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandledErrors: ReadonlyArray<unknown>): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    for (const module of modules) {
      // A module that fails to load has no tests to count; its own errors count instead.
      count.failed += module.errors().length
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed' || state === 'failed' || state === 'skipped') count[state] += 1
      }
    }
    for (const { test, text, secret } of findSecrets(process.env.GMP_TEST_OUTPUT!)) {
      count.failed += 1
      process.stdout.write(`A secret in the output of the product, ${JSON.stringify(secret)}, in ${test}:\n${text}\n`)
    }
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : ''
    process.on('exit', () => {
      // A library that ends the process with a code of its own must not turn a failed run into a good one.
      if (count.failed > 0) process.exitCode = 1
      process.stdout.write(`${count.passed} passed, ${count.failed} failed${skipped}\n`)
    })
  }
}
