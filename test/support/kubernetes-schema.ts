/**
 * What the Kubernetes API would say of an object: the validators that kubernetes-models generates from the OpenAPI
 * documents. Those let unknown fields pass, as the API does with a warning. Here they count: a field that no validator
 * ever asked for is a field nobody knows, mostly a misspelt one.
 */
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject'
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor'
import { Deployment } from 'kubernetes-models/apps/v1/Deployment'
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler'
import { Ingress } from 'kubernetes-models/networking.k8s.io/v1/Ingress'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget'
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap'
import { Secret } from 'kubernetes-models/v1/Secret'
import { Service } from 'kubernetes-models/v1/Service'

export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly labels: Record<string, string> }
  readonly [field: string]: any
}

const MODELS: readonly { apiVersion: string; kind: string; prototype: { validate(): void } }[] = [
  ConfigMap,
  Deployment,
  HorizontalPodAutoscaler,
  Ingress,
  NetworkPolicy,
  PodDisruptionBudget,
  PodMonitor,
  ScaledObject,
  Secret,
  Service,
]

/** One line for everything that is wrong; empty: nothing is. */
export function problemsOf(object: KubernetesObject): string[] {
  const model = MODELS.find(({ apiVersion, kind }) => apiVersion === object.apiVersion && kind === object.kind)
  if (model === undefined) return [`no schema of ${object.apiVersion} ${object.kind}`]
  const asked = new Set<string>()
  try {
    model.prototype.validate.call(watched(object, '', asked))
  } catch (error) {
    return [(error as Error).message]
  }
  return [...pathsOf(object, '')].filter(path => !asked.has(path)).map(path => `${path} is no known field`)
}

/** The same object, which notes the path of every field that is asked for. */
function watched(value: object, path: string, asked: Set<string>): object {
  return new Proxy(value, {
    get(target, name) {
      const inner = Reflect.get(target, name)
      if (typeof name === 'symbol') return inner
      asked.add(`${path}/${name}`)
      return typeof inner === 'object' && inner !== null ? watched(inner, `${path}/${name}`, asked) : inner
    },
  })
}

function* pathsOf(value: unknown, path: string): Generator<string> {
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) {
    yield `${path}/${name}`
    yield* pathsOf(inner, `${path}/${name}`)
  }
}
