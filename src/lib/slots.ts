/**
 * Places for sends, shared by all accounts. A fifth is kept for accounts with nothing in flight and for priority 0, so
 * that a few slow servers cannot take them all.
 */
export interface Slots {
  take(favoured: boolean): boolean
  give(): void
  readonly free: number
  readonly used: number
}

export function createSlots(total: number): Slots {
  const kept = Math.max(1, Math.floor(total / 5))
  let used = 0
  return {
    take(favoured) {
      if (used >= (favoured ? total : Math.max(1, total - kept))) return false
      used += 1
      return true
    },
    give() {
      used -= 1
    },
    get free() {
      return total - used
    },
    get used() {
      return used
    },
  }
}
