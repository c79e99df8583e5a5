/** Every variable of the service that a file for deployment names is one that the service reads, with a value it takes. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { OTHER_VARIABLES, SETTING_KEYS, SETTINGS, type Setting } from '../../src/config-schema.js'
import { filesBelow, readYaml } from '../support/deploy-files.js'

const FILES = ['Dockerfile', 'docs/deployment.md', ...filesBelow('deploy')]

const known = new Map<string, Setting | null>(Object.keys(OTHER_VARIABLES).map(name => [name, null]))
for (const key of SETTING_KEYS) {
  const setting: Setting = SETTINGS[key]
  for (const name of setting.env) {
    known.set(name, setting)
    if (setting.secret) known.set(`${name}_FILE`, null)
  }
}

describe('the variables in files for deployment', () => {
  const namedIn = (path: string) => readFileSync(path, 'utf8').match(/\b(?:GMP|LOG)_[A-Z_]*[A-Z]\b/g) ?? []

  it('are known to the service', () => {
    expect(namedIn('deploy/docker/compose.yaml')).toContain('GMP_DB_PATH_FILE')
    expect(
      FILES.flatMap(path =>
        namedIn(path)
          .filter(name => !known.has(name))
          .map(name => `${path}: ${name}`),
      ),
    ).toEqual([])
  })
})

describe('every value set is taken', () => {
  const assignments = (text: string) => [...text.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(match => [match[1]!, match[2]!])
  const sources: Record<string, [string, unknown][]> = {
    'deploy/docker/env.example': assignments(readFileSync('deploy/docker/env.example', 'utf8')) as [string, string][],
    'deploy/systemd/mail-proxy.env.example': assignments(
      readFileSync('deploy/systemd/mail-proxy.env.example', 'utf8'),
    ) as [string, string][],
    'deploy/kubernetes/settings.yaml': Object.entries(readYaml('deploy/kubernetes/settings.yaml').data),
    'deploy/helm/genro-mail-proxy/values.yaml': Object.entries(
      readYaml('deploy/helm/genro-mail-proxy/values.yaml').settings,
    ),
  }

  it.each(Object.entries(sources))('in %s', (_path, values) => {
    const ours = values.filter(([name]) => known.has(name))
    expect(ours.length).toBeGreaterThan(2)
    for (const [name, value] of ours) {
      // Kubernetes takes strings alone, and an empty one is how a setting is left out.
      expect(typeof value, name).toBe('string')
      if (value !== '') expect(known.get(name)?.kind.parse(value as string), `${name}=${value}`).not.toBe(undefined)
    }
  })
})
