/**
 * Vitest sequencer: stories of processes and of waits begin before all else. Where no run has measured the files yet, Vitest
 * begins with the largest, and some that take a minute are short: one that begins last leaves a processor idle.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node'

const SLOW = /\/test\/(fault|scenario|monitoring)\//

export default class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isSlow = ({ moduleId }: TestSpecification) => SLOW.test(moduleId)
    return [...sorted.filter(isSlow), ...sorted.filter(each => !isSlow(each))]
  }
}
