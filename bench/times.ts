/** Waiting, and what becomes of many durations. */

export function pause(ms: number): Promise<void> {
  return new Promise(done => setTimeout(done, ms))
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length
}

/** Of equal amounts that were done at these rates one after the other. */
export function rateOfAll(rates: readonly number[]): number {
  return rates.length / rates.reduce((sum, rate) => sum + 1 / rate, 0)
}
