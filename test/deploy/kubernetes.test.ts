/** The manifests: what the API would say of them, that they fit together, and that they fit the service. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { SETTINGS } from '../../src/config-schema.js'
import { documentsOf, filesBelow, has, readYaml } from '../support/deploy-files.js'
import { type KubernetesObject, problemsOf } from '../support/kubernetes-schema.js'

const FOLDER = 'deploy/kubernetes'
const kustomization = readYaml(`${FOLDER}/kustomization.yaml`)
const objects: KubernetesObject[] = kustomization.resources.flatMap((name: string) =>
  documentsOf(readFileSync(`${FOLDER}/${name}`, 'utf8')),
)
const optional: KubernetesObject[] = filesBelow(`${FOLDER}/optional`)
  .filter(path => !path.endsWith('-values.yaml'))
  .flatMap(path => documentsOf(readFileSync(path, 'utf8')))
const one = (kind: string, name: string) =>
  objects.find(each => each.kind === kind && each.metadata.name === name) ??
  expect.fail(`there is no ${kind} called ${name}`)
const secret = optional.find(({ kind }) => kind === 'Secret')!

describe('each manifest', () => {
  it.each([...objects, ...optional].map(each => [`${each.kind} ${each.metadata.name}`, each] as const))(
    '%s is as its schema says',
    (_name, object) => {
      expect(problemsOf(object)).toEqual([])
      expect(object.metadata).not.toHaveProperty('namespace')
    },
  )

  it('stands in the kustomization or in optional/', () => {
    const files = filesBelow(FOLDER).filter(
      path => !path.includes('/optional/') && !path.endsWith('/kustomization.yaml'),
    )
    expect(files).toEqual(kustomization.resources.map((name: string) => `${FOLDER}/${name}`).sort())
  })
})

describe('the check by schema', () => {
  const deployment = () => structuredClone(one('Deployment', 'mail-proxy-api')) as any

  it('sees what is missing, what has the wrong type, and what nobody knows', () => {
    const missing = deployment()
    delete missing.spec.selector
    expect(problemsOf(missing).join()).toContain('must have required property selector')
    const wrong = deployment()
    wrong.spec.template.spec.containers[0].ports[0].containerPort = 'http'
    expect(problemsOf(wrong).join()).toContain('must be integer')
    const misspelt = deployment()
    misspelt.spec.template.spec.containers[0].readynessProbe = { httpGet: { path: '/', port: 1 } }
    expect(problemsOf(misspelt)[0]).toBe('/spec/template/spec/containers/0/readynessProbe is no known field')
  })
})

describe.each(['api', 'worker'])('a pod of the %s', role => {
  let deployment: any
  let pod: any
  let container: any
  beforeAll(() => {
    deployment = one('Deployment', `mail-proxy-${role}`)
    pod = deployment.spec.template.spec
    container = pod.containers[0]
  })
  const env = (name: string) => container.env.find((each: any) => each.name === name)?.value

  it('runs the image of the kustomization in its role', () => {
    expect(container.image).toBe(kustomization.images[0].name)
    expect(env('GMP_ROLE')).toBe(role)
    SETTINGS['server.role'].kind.parse(role)
  })

  it('may do nothing but its work', () => {
    expect(pod.automountServiceAccountToken).toBe(false)
    expect(pod.enableServiceLinks).toBe(false)
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    const [user] = /^USER (\d+):/m.exec(readFileSync('Dockerfile', 'utf8'))!.slice(1)
    expect(String(pod.securityContext.runAsUser)).toBe(user)
  })

  it('finds each secret file, and they are those of the example', () => {
    const mount = container.volumeMounts.find((each: any) => each.name === 'secrets')
    const volume = pod.volumes.find((each: any) => each.name === 'secrets')
    expect(volume.secret.secretName).toBe(secret.metadata.name)
    const files = container.env.filter((each: any) => each.name.endsWith('_FILE')).map((each: any) => each.value)
    expect(files.sort()).toEqual(
      Object.keys(secret.stringData)
        .map(key => `${mount.mountPath}/${key}`)
        .sort(),
    )
  })

  it('has a place for what it writes', () => {
    const mounts = Object.fromEntries(container.volumeMounts.map((each: any) => [each.mountPath, each.name]))
    expect(pod.volumes.find((each: any) => each.name === mounts['/data'])).toHaveProperty('emptyDir')
  })

  it('is asked for what the service answers, at the port it listens on', () => {
    const answered = readFileSync('src/http/routes/system.ts', 'utf8')
    for (const [probe, path] of [
      ['startupProbe', '/health'],
      ['livenessProbe', '/health'],
      ['readinessProbe', '/ready'],
    ] as const) {
      expect(container[probe].httpGet).toEqual({ path, port: 'http' })
      expect(answered).toContain(`'${path}'`)
    }
    const exposed = /^EXPOSE (\d+)/m.exec(readFileSync('Dockerfile', 'utf8'))![1]
    expect(container.ports).toEqual([{ name: 'http', containerPort: Number(exposed) }])
  })

  it('is given the time it needs to stop', () => {
    const stopSeconds = Number(one('ConfigMap', 'mail-proxy').data.GMP_STOP_TIMEOUT)
    const before = Number(container.lifecycle?.preStop.exec.command[1] ?? 0)
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(before + stopSeconds + 10)
  })

  it('is selected by its Deployment, its budget and the network policy', () => {
    const labels = deployment.spec.template.metadata.labels
    const budget = one('PodDisruptionBudget', `mail-proxy-${role}`)
    for (const selector of [deployment.spec.selector, budget.spec.selector])
      expect(selector.matchLabels).toEqual(labels)
    expect(labels).toMatchObject(one('NetworkPolicy', 'mail-proxy').spec.podSelector.matchLabels)
  })
})

describe('what stands around the pods', () => {
  it('the Service leads to the api alone', () => {
    const service = one('Service', 'mail-proxy')
    expect(service.spec.selector).toEqual(one('Deployment', 'mail-proxy-api').spec.selector.matchLabels)
    expect(service.spec.ports[0].targetPort).toBe('http')
  })

  it('autoscalers scale the worker, whose number nothing else sets, by a metric that the service has', () => {
    const worker = one('Deployment', 'mail-proxy-worker')
    expect(worker.spec).not.toHaveProperty('replicas')
    const scaler = one('HorizontalPodAutoscaler', 'mail-proxy-worker').spec
    expect(scaler.scaleTargetRef.name).toBe(worker.metadata.name)
    const keda = optional.find(({ kind }) => kind === 'ScaledObject')!.spec
    expect(keda.scaleTargetRef.name).toBe(worker.metadata.name)
    const [rule] = readYaml(`${FOLDER}/optional/prometheus-adapter-values.yaml`).rules.external
    const metric = scaler.metrics[0].external.metric.name
    expect(rule.name.as).toBe(metric)
    for (const query of [rule.seriesQuery, keda.triggers[0].metadata.query]) {
      expect(query).toMatch(/gmp_queue_messages\{[^}]*state="due"/)
    }
    expect(rule.metricsQuery).toContain('state="due"')
    expect(readFileSync('src/metrics/gauges.ts', 'utf8')).toContain(`'gmp_queue_messages'`)
    expect([keda.minReplicaCount, keda.maxReplicaCount]).toEqual([scaler.minReplicas, scaler.maxReplicas])
    expect(keda.triggers[0].metadata.threshold).toBe(scaler.metrics[0].external.target.averageValue)
  })

  it('the monitor asks a port that the pods have, with a token of the Secret', () => {
    const [endpoint] = optional.find(({ kind }) => kind === 'PodMonitor')!.spec.podMetricsEndpoints
    expect(endpoint).toMatchObject({ port: 'http', path: '/metrics' })
    const { name, key } = endpoint.authorization.credentials
    expect([name, Object.keys(secret.stringData)]).toEqual([secret.metadata.name, expect.arrayContaining([key])])
  })

  it('the example of a Secret holds none', () => {
    const values = Object.values(secret.stringData)
    expect(values.filter(value => value !== '' && !String(value).includes('PASSWORD'))).toEqual([])
  })
})

describe.skipIf(!has('kubectl', 'version', '--client'))('kubectl', () => {
  it('builds the kustomization, with the tag of the image', () => {
    const built = spawnSync('kubectl', ['kustomize', FOLDER], { encoding: 'utf8' })
    expect(built.stderr).toBe('')
    const made = documentsOf(built.stdout) as KubernetesObject[]
    expect(made.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual(
      objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort(),
    )
    const { newName, newTag } = kustomization.images[0]
    const deployments = made.filter(({ kind }) => kind === 'Deployment')
    for (const { spec } of deployments) expect(spec.template.spec.containers[0].image).toBe(`${newName}:${newTag}`)
  })
})
