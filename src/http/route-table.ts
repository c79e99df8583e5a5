/** Which methods a path knows, so that a wrong method is a 405 with Allow and an unknown path a 404. */
import type { RouteOptions } from 'fastify'

export interface RouteTable {
  add(route: Pick<RouteOptions, 'url' | 'method'>): void
  /** Empty for an unknown path. `url` may carry a query. */
  methodsOf(url: string): string[]
}

export function createRouteTable(): RouteTable {
  const patterns = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  return {
    add({ url, method }) {
      let entry = patterns.get(url)
      if (entry === undefined) {
        entry = { pattern: patternOf(url), methods: new Set() }
        patterns.set(url, entry)
      }
      for (const each of [method].flat()) entry.methods.add(each)
    },
    methodsOf(url) {
      const path = url.split('?', 1)[0]!
      const methods = new Set<string>()
      for (const entry of patterns.values()) {
        if (entry.pattern.test(path)) for (const each of entry.methods) methods.add(each)
      }
      return [...methods].sort()
    },
  }
}

function patternOf(url: string): RegExp {
  const parts = url.split('/').map(part => {
    if (part.startsWith(':')) return '[^/]+'
    if (part === '*') return '.*'
    return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('/')}/?$`)
}
