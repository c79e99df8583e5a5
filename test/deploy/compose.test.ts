/** compose.yaml: services, secrets, volumes and networks fit together, and make-secrets.sh makes what they need. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/load-config.js'
import { has, readYaml } from '../support/deploy-files.js'

const FOLDER = 'deploy/docker'
const compose = readYaml(`${FOLDER}/compose.yaml`)
const services: Record<string, any> = compose.services
const ours = ['api', 'worker']

/** A copy of the folder in which secrets may be made. */
const copy = mkdtempSync(join(tmpdir(), 'gmp-compose-'))
cpSync(FOLDER, copy, { recursive: true, filter: path => !/\/(secrets|\.env)$/.test(path) })
const makeSecrets = () => execFileSync(join(copy, 'make-secrets.sh'), { encoding: 'utf8', cwd: '/' })
const secretFiles = () => readdirSync(join(copy, 'secrets')).sort()
afterAll(() => rmSync(copy, { recursive: true, force: true }))

describe('compose.yaml', () => {
  it('has an api, two workers, a database, Prometheus and Grafana', () => {
    expect(Object.keys(services)).toEqual(['api', 'worker', 'postgres', 'prometheus', 'grafana'])
    expect(services.worker.deploy.replicas).toMatch(/^\$\{WORKERS:-2\}$/)
    expect(ours.map(name => services[name].environment.GMP_ROLE)).toEqual(ours)
  })

  it('names no secret, volume, network or service that it does not have', () => {
    for (const [name, service] of Object.entries(services)) {
      for (const secret of service.secrets ?? []) expect(compose.secrets, name).toHaveProperty(secret)
      for (const network of service.networks ?? []) expect(compose.networks, name).toHaveProperty(network)
      const others = Array.isArray(service.depends_on) ? service.depends_on : Object.keys(service.depends_on ?? {})
      for (const other of others) expect(services, name).toHaveProperty(other)
      for (const volume of service.volumes ?? []) {
        const [source = ''] = volume.split(':')
        if (!source.startsWith('.')) expect(compose.volumes, name).toHaveProperty(source)
      }
    }
  })

  it('gives each process the secrets that its variables name, and waits for the database by its health', () => {
    for (const name of ours) {
      const { environment, secrets, depends_on, networks } = services[name]
      const files = Object.entries(environment).filter(([variable]) => variable.endsWith('_FILE'))
      expect(files.map(([, path]) => path)).toEqual(secrets.map((secret: string) => `/run/secrets/${secret}`))
      expect(networks).toEqual(['database', 'default'])
      const [before] = Object.keys(depends_on)
      expect(depends_on[before!].condition).toBe('service_healthy')
    }
    expect(services.postgres.healthcheck.test.join(' ')).toContain('pg_isready')
    expect(Object.keys(services.worker.depends_on)).toEqual(['api'])
  })

  it('gives them nothing to do harm with, and the time they need to stop', () => {
    for (const name of ours) {
      const service = services[name]
      expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] })
      expect(service.volumes).toEqual(['data:/data'])
      const seconds = Number(service.stop_grace_period.replace('s', ''))
      expect(seconds).toBeGreaterThanOrEqual(Number(service.environment.GMP_STOP_TIMEOUT) + 10)
    }
  })

  it('opens no port to the network by itself, and the database none at all', () => {
    const published = Object.entries(services).flatMap(([name, { ports }]) =>
      (ports ?? []).map((port: string) => [name, port]),
    )
    expect(published.map(([name]) => name)).toEqual(['api', 'prometheus', 'grafana'])
    for (const [, port] of published) expect(port).toMatch(/^\$\{\w+:-127\.0\.0\.1:\d+\}:\d+$/)
    expect(services.api.ports[0]).toMatch(/:8000$/)
    expect(compose.networks.database.internal).toBe(true)
  })

  it('lets Prometheus find every process with the token they ask for', () => {
    const [job] = readYaml(`${FOLDER}/prometheus.yml`).scrape_configs
    expect(job.dns_sd_configs[0]).toMatchObject({ names: ours, port: 8000 })
    expect(job.authorization.credentials_file).toBe('/run/secrets/metrics_token')
    expect(services.prometheus.secrets).toContain('metrics_token')
    expect(services.prometheus.volumes).toContain('./prometheus.yml:/etc/prometheus/prometheus.yml:ro')
  })

  it('mounts files and folders that are there', () => {
    const mounted = Object.values(services)
      .flatMap(({ volumes }) => volumes ?? [])
      .map((volume: string) => volume.split(':')[0]!)
      .filter((source: string) => source.startsWith('.') && existsSync(resolve(FOLDER, source, '..')))
    expect(mounted.length).toBeGreaterThan(0)
    for (const source of mounted) expect(existsSync(resolve(FOLDER, source)), source).toBe(true)
  })
})

describe('env.example', () => {
  it('has the variables that compose.yaml takes from outside, no more and no less', () => {
    const taken = readFileSync(`${FOLDER}/compose.yaml`, 'utf8')
      .match(/\$\{(\w+)/g)!
      .map(name => name.slice(2))
    const offered = readFileSync(`${FOLDER}/env.example`, 'utf8').match(/^\w+(?==)/gm)!
    expect([...new Set(taken)].sort()).toEqual([...offered].sort())
  })
})

describe('make-secrets.sh', () => {
  it('makes every secret once, where only the owner gets at them, with values that the service takes', () => {
    expect(makeSecrets().trim().split('\n')).toHaveLength(Object.keys(compose.secrets).length)
    expect(secretFiles()).toEqual(Object.keys(compose.secrets).sort())
    expect(statSync(join(copy, 'secrets')).mode & 0o777).toBe(0o700)
    const before = secretFiles().map(name => readFileSync(join(copy, 'secrets', name), 'utf8'))
    expect(makeSecrets()).toBe('')
    expect(secretFiles().map(name => readFileSync(join(copy, 'secrets', name), 'utf8'))).toEqual(before)

    const env = Object.fromEntries(
      Object.entries(services.worker.environment as Record<string, string>)
        .filter(([, value]) => !value.startsWith('${'))
        .map(([name, value]) => [name, value.replace('/run/secrets', join(copy, 'secrets'))]),
    )
    const readFile = (path: string) => readFileSync(path, 'utf8')
    const { config, warnings } = loadConfig({ flags: {}, env, instanceDir: '/data/default', readFile })
    expect(warnings).toEqual([])
    const password = readFileSync(join(copy, 'secrets/postgres_password'), 'utf8').trim()
    expect(config.database).toMatchObject({
      dialect: 'postgres',
      url: `postgresql://mail_proxy:${password}@postgres/mail_proxy`,
    })
    expect(config.encryptionKeys?.[0]).toHaveLength(32)
    expect(config.server.role).toBe('worker')
  })
})

/** Version 2 as a plugin of docker, or the older program of Debian 12. */
const program = [['docker', 'compose'], ['docker-compose']].find(([name, ...args]) => has(name!, ...args, 'version'))

describe.skipIf(program === undefined)('docker compose', () => {
  it('reads it', () => {
    const [name, ...args] = [
      ...program!,
      '-f',
      `${FOLDER}/compose.yaml`,
      '--env-file',
      `${FOLDER}/env.example`,
      'config',
    ]
    const { status, stdout, stderr } = spawnSync(name!, args, { encoding: 'utf8' })
    expect(`${status} ${stderr}`).toBe('0 ')
    expect(stdout).toContain('GMP_HELO_NAME: mail.example.com')
    expect(stdout).toContain('replicas: 2')
  })
})
