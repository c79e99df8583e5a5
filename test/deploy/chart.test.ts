/**
 * The Helm chart, rendered by Go's templates and sprig (test/support/render-chart.go), with the values it comes with and
 * with others: what it makes is what the API takes, and by default what deploy/kubernetes has.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Compile } from 'typebox/compile'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { SETTING_KEYS, SETTINGS } from '../../src/config-schema.js'
import { documentsOf, filesBelow, has, readYaml } from '../support/deploy-files.js'
import { type KubernetesObject, problemsOf } from '../support/kubernetes-schema.js'

const CHART = 'deploy/helm/genro-mail-proxy'
const values = readYaml(`${CHART}/values.yaml`)
const schema = Compile(JSON.parse(readFileSync(`${CHART}/values.schema.json`, 'utf8')))

describe('the values', () => {
  it('are what their schema asks for', () => {
    expect([...schema.Errors(values)].map(error => `${error.instancePath} ${error.message}`)).toEqual([])
  })

  it.each([
    ['a value nobody knows', { ...values, replicaCount: 3 }],
    ['a misspelt one further in', { ...values, api: { ...values.api, replica: 3 } }],
    ['a number that is text', { ...values, service: { ...values.service, port: 'http' } }],
    ['a setting that the chart gives itself', { ...values, settings: { GMP_ROLE: 'all' } }],
    ['a secret among the settings', { ...values, settings: { GMP_API_TOKEN: 'token' } }],
    ['a setting that is no variable', { ...values, settings: { 'helo-name': 'mail.test' } }],
    ['no Secret', { ...values, existingSecret: '' }],
  ])('are refused with %s', (_what, wrong) => {
    expect(schema.Check(wrong)).toBe(false)
  })

  it('let no secret stand among the settings', () => {
    const secrets = SETTING_KEYS.filter(key => SETTINGS[key].secret).flatMap(key => SETTINGS[key].env)
    expect(secrets.filter(name => schema.Check({ ...values, settings: { [name]: 'x' } }))).toEqual([])
    const file = { GMP_CLIENT_SYNC_TOKEN_FILE: '/run/secrets/mail-proxy/client-sync-token' }
    expect(schema.Check({ ...values, settings: file })).toBe(true)
  })
})

const canRender = has('go', 'version') && has('ls', '/usr/share/gocode/src/github.com/Masterminds/sprig')

describe.skipIf(!canRender)('the chart', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gmp-chart-'))
  const program = join(folder, 'render')
  beforeAll(() => {
    const env = { ...process.env, GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '' }
    execFileSync('go', ['build', '-o', program, 'test/support/render-chart.go'], { env, stdio: 'pipe' })
  }, 240_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Renders with these values over the chart's own, which Helm checks by the schema before. */
  const render = (others: object = {}, release = 'mail-proxy'): Record<string, string> => {
    const path = join(folder, 'values.yaml')
    writeFileSync(path, stringify(others))
    const made = JSON.parse(execFileSync(program, [CHART, release, 'mail', path], { encoding: 'utf8', stdio: 'pipe' }))
    expect([...schema.Errors(made.values)]).toEqual([])
    return made.rendered
  }
  const objectsOf = (rendered: Record<string, string>): KubernetesObject[] =>
    Object.entries(rendered)
      .filter(([name]) => name.endsWith('.yaml'))
      .flatMap(([, text]) => documentsOf(text))
  const all = {
    imagePullSecrets: [{ name: 'registry' }],
    image: { repository: 'registry.example.com/mail-proxy', tag: '1.2.3' },
    settings: { GMP_HELO_NAME: 'mail.test', GMP_MAX_RETRIES: 7, GMP_TEST_MODE: true, LOG_LEVEL: 'debug' },
    api: { podAnnotations: { team: 'mail' }, nodeSelector: { disk: 'ssd' }, tolerations: [{ operator: 'Exists' }] },
    autoscaling: { kind: 'keda', duePerWorker: 2_000_000, prometheusAddress: 'http://prometheus.test:9090' },
    service: { type: 'LoadBalancer', port: 80, annotations: { internal: 'true' } },
    ingress: { enabled: true, className: 'nginx', host: 'mail.test', tlsSecret: 'mail-tls', annotations: { a: 'b' } },
    networkPolicy: { extraPorts: [8443] },
    podMonitor: { enabled: true, labels: { release: 'prometheus' } },
  }
  const few = {
    settings: { GMP_HELO_NAME: null, GMP_TIMEZONE: null, GMP_ALLOWED_NETWORKS: null },
    autoscaling: { enabled: false },
    worker: { replicas: 4 },
    networkPolicy: { enabled: false },
  }

  it.each([
    ['with its own values', {}, 'mail-proxy'],
    ['with everything switched on', all, 'mail-proxy'],
    ['with as little as can be', few, 'm'],
    ['with a long name', {}, 'a-release-with-a-name-that-is-fifty-three-characters-'],
  ])('makes what the API takes %s', (_what, others, release) => {
    const objects = objectsOf(render(others, release))
    expect(objects.length).toBeGreaterThan(4)
    for (const object of objects) {
      expect(problemsOf(object), `${object.kind} ${object.metadata?.name}`).toEqual([])
      expect(object.metadata.name).toMatch(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
      for (const label of Object.values(object.metadata.labels)) expect(String(label).length).toBeLessThanOrEqual(63)
    }
  })

  it('makes by default what deploy/kubernetes has, but for labels and the annotation of the settings', () => {
    const plain = filesBelow('deploy/kubernetes')
      .filter(path => !/optional|kustomization/.test(path))
      .flatMap(path => documentsOf(readFileSync(path, 'utf8')))
    const byName = (objects: any[]) =>
      Object.fromEntries(objects.map(object => [`${object.kind} ${object.metadata.name}`, comparable(object)]))
    expect(byName(objectsOf(render()))).toEqual(byName(plain))
  })

  it('puts values where they belong', () => {
    const objects = objectsOf(render(all))
    const one = (kind: string, name = 'mail-proxy') =>
      objects.find(each => each.kind === kind && each.metadata.name === name) as any
    expect(one('ConfigMap').data).toMatchObject({ GMP_MAX_RETRIES: '7', GMP_TEST_MODE: 'true', LOG_LEVEL: 'debug' })
    const { template } = one('Deployment', 'mail-proxy-api').spec
    expect(template.metadata.annotations).toMatchObject({ team: 'mail' })
    expect(template.spec).toMatchObject({
      imagePullSecrets: [{ name: 'registry' }],
      nodeSelector: { disk: 'ssd' },
      tolerations: [{ operator: 'Exists' }],
    })
    expect(template.spec.containers[0].image).toBe('registry.example.com/mail-proxy:1.2.3')
    expect(one('ScaledObject', 'mail-proxy-worker').spec.triggers[0].metadata).toEqual({
      serverAddress: 'http://prometheus.test:9090',
      query: 'max(gmp_queue_messages{namespace="mail",state="due"})',
      threshold: '2000000',
    })
    expect(one('HorizontalPodAutoscaler', 'mail-proxy-worker')).toBe(undefined)
    expect(one('Ingress').spec).toMatchObject({
      ingressClassName: 'nginx',
      tls: [{ secretName: 'mail-tls', hosts: ['mail.test'] }],
    })
    expect(one('NetworkPolicy').spec.egress[1].ports.map((each: any) => each.port)).toContain(8443)
    expect(one('PodMonitor').metadata.labels.release).toBe('prometheus')
    const worker = objectsOf(render(few)).find(
      ({ kind, metadata }) => `${kind} ${metadata.name}` === 'Deployment mail-proxy-worker',
    )
    expect(worker!.spec.replicas).toBe(4)
  })

  it('makes new pods of new settings', () => {
    const sum = (others: object) => {
      const [deployment] = objectsOf(render(others)).filter(({ kind }) => kind === 'Deployment')
      return deployment!.spec.template.metadata.annotations['checksum/settings']
    }
    expect(sum({})).toBe(sum({}))
    expect(sum({ settings: { LOG_LEVEL: 'debug' } })).not.toBe(sum({}))
  })

  it('tells how to go on', () => {
    const notes = render()['NOTES.txt']!
    expect(notes).toContain('kubectl -n mail rollout status deployment/mail-proxy-api')
    expect(notes).toContain('Set settings.GMP_HELO_NAME')
    expect(render(all)['NOTES.txt']).not.toContain('Set settings.GMP_HELO_NAME')
  })
})

/** Without what Helm adds, and the image as kustomize leaves it. */
function comparable(object: any): unknown {
  const ignored = /^(helm\.sh\/|checksum\/|app\.kubernetes\.io\/(instance|version|managed-by)$)/
  return JSON.parse(JSON.stringify(object), (name, value) => {
    if (ignored.test(name)) return undefined
    if (name === 'image') return String(value).split(':')[0]
    if (name === 'annotations' && Object.keys(value).length === 0) return undefined
    if (name === 'type' && value === 'ClusterIP') return undefined
    return value
  })
}
