/** The service's settings: one frozen object, read once at start. The only reader of the environment is main.ts. */

/** Sources of attachments that are fetched. */
export const REMOTE_SOURCES = ['endpoint', 'http_url', 'filesystem', 'volume'] as const
export type RemoteSource = (typeof REMOTE_SOURCES)[number]

export interface Config {
  readonly instance: { readonly name: string; readonly dir: string | null }
  /** SQLite file path, or `postgresql://…`. */
  readonly database: {
    readonly url: string
    readonly dialect: 'sqlite' | 'postgres'
    readonly poolSize: number
    /** How long PostgreSQL may take for an answer. */
    readonly answerTimeoutMs: number
    /** The operator has looked at a restored database: it may send. */
    readonly release: boolean
  }
  readonly server: {
    readonly host: string
    readonly port: number
    /** Nobody chose the port: when it is taken, the next free one will do. */
    readonly portMayMove: boolean
    readonly role: 'all' | 'api' | 'worker'
    /** No authentication at all; only with an explicit flag, on loopback. */
    readonly insecureNoAuth: boolean
    readonly apiToken: string | null
    readonly metricsToken: string | null
    readonly maxBodyBytes: number
    readonly maxConnections: number
    readonly requestsPerMinute: number
    readonly ui: boolean
  }
  readonly scheduler: { readonly active: boolean; readonly timezone: string; readonly testMode: boolean }
  readonly queue: {
    readonly loopIntervalMs: number
    readonly defaultPriority: 0 | 1 | 2 | 3
    readonly batchSizePerAccount: number
    readonly maxRetries: number
    readonly retryDelaysMs: readonly number[]
    readonly leaseMs: number
    readonly maxConcurrentSends: number
    readonly minFreeMb: number
    readonly retentionMs: number
    readonly commandLogRetentionMs: number
    readonly stopTimeoutMs: number
  }
  readonly smtp: {
    readonly connectTimeoutMs: number
    readonly commandTimeoutMs: number
    readonly finalReplyTimeoutMs: number
    /** Name said in EHLO; null: the host's. */
    readonly heloName: string | null
    /** First wait between probes of a paused account, and the longest. */
    readonly probeFirstMs: number
    readonly probeMaxMs: number
    readonly slowSendMs: number
  }
  readonly reports: {
    readonly syncIntervalMs: number
    readonly url: string | null
    readonly user: string | null
    readonly password: string | null
    readonly token: string | null
    readonly timeoutMs: number
    readonly giveUpMs: number
    readonly maxConcurrent: number
  }
  readonly attachments: {
    readonly baseDir: string | null
    readonly baseUrl: string | null
    /** For one attachment, from asking to its last octet. */
    readonly timeoutMs: number
    readonly timeoutMsBySource: Readonly<Partial<Record<RemoteSource, number>>>
    readonly maxBytes: number
    readonly maxBytesBySource: Readonly<Partial<Record<RemoteSource, number>>>
    /** Where large ones lie while their message is sent; null: the instance folder, or the system's temporary one. */
    readonly spoolDir: string | null
  }
  readonly cache: {
    /** null: no disk tier. */
    readonly diskDir: string | null
    readonly memoryMaxBytes: number
    readonly memoryTtlMs: number
    readonly diskMaxBytes: number
    readonly diskTtlMs: number
    /** Larger contents go to disk, smaller ones stay in memory. */
    readonly diskThresholdBytes: number
  }
  readonly network: { readonly allowPrivate: boolean; readonly allowed: readonly string[] }
  readonly logging: {
    readonly level: 'debug' | 'info' | 'warning' | 'error'
    readonly format: 'text' | 'json'
    readonly deliveryActivity: boolean
  }
  /**
   * Keys of 32 bytes that open stored secrets, the newest last; the database says which of them seals. null: none given,
   * the instance folder's key file has them.
   */
  readonly encryptionKeys: readonly Buffer[] | null
  /** The lines of config.ini's [volumes] section as written: `volume.NAME.backend|config|account_id` → text. */
  readonly volumes: Readonly<Record<string, string>>
  /** The environment's values of the variables that those lines name as `${NAME}`; one that is not set is absent. */
  readonly volumeVariables: Readonly<Record<string, string>>
}
