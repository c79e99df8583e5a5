/**
 * Whether there are traces: the standard OTEL_* variables say so. OpenTelemetry is loaded only then; all else that it
 * knows of the environment (endpoint, headers, sampler, batches, service name) it reads itself.
 */
import type { Log } from '../lib/log.js'
import { NO_TRACING, type Tracer } from './tracer.js'

type Environment = Readonly<Record<string, string | undefined>>

export type Wanted =
  | { readonly on: false; readonly warning?: string }
  | { readonly on: true; readonly protocol: 'http/protobuf' | 'http/json' }

/** Never rejects: mail must not wait for a mistake in what only looks on. */
export async function openTracer(env: Environment, log: Log): Promise<Tracer> {
  const wanted = wantedBy(env)
  if (!wanted.on) {
    if (wanted.warning !== undefined) log.warning(wanted.warning)
    return NO_TRACING
  }
  try {
    const { createOtelTracer } = await import('./otel.js')
    return await createOtelTracer(wanted.protocol, log)
  } catch (error) {
    log.warning(`There are no traces: OpenTelemetry does not start: ${(error as Error).message}`)
    return NO_TRACING
  }
}

/** Pure. By the OpenTelemetry specification an empty variable counts as none; a value it does not know gives a warning. */
export function wantedBy(env: Environment): Wanted {
  const value = (name: string) => env[name]?.trim() || undefined
  if (value('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return { on: false }
  const exporter = value('OTEL_TRACES_EXPORTER')
  if (exporter === 'none') return { on: false }
  const hasEndpoint = value('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') ?? value('OTEL_EXPORTER_OTLP_ENDPOINT')
  if (exporter === undefined && hasEndpoint === undefined) return { on: false }
  if (exporter !== undefined && exporter !== 'otlp') {
    return { on: false, warning: `There are no traces: OTEL_TRACES_EXPORTER=${exporter} is not supported, only otlp` }
  }
  const protocol =
    value('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? value('OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/protobuf'
  if (protocol === 'http/protobuf' || protocol === 'http/json') return { on: true, protocol }
  return {
    on: false,
    warning: `There are no traces: the protocol ${protocol} is not supported, set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to http/protobuf or http/json (port 4318)`,
  }
}
