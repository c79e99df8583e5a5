/**
 * The one table of settings: for every value of Config its names in the environment, in config.ini and on the command
 * line, its kind, its default and a line for people. Loader, config.ini.example and the docs follow this table; the
 * type of SETTINGS makes the compiler ask for a row when Config gets a value.
 */
import { type Config, REMOTE_SOURCES } from './config.js'
import * as kind from './config-values.js'

type Grouped = Omit<Config, 'instance' | 'encryptionKeys' | 'volumes' | 'volumeVariables'>
type GroupKey = { [G in keyof Grouped & string]: `${G}.${keyof Grouped[G] & string}` }[keyof Grouped & string]

/** Path of a value in Config. Dialect and portMayMove are not set but follow from what is. */
export type SettingKey = Exclude<GroupKey, 'database.dialect' | 'server.portMayMove'> | 'encryptionKeys'

type ValueOf<K> = K extends `${infer G}.${infer V}`
  ? G extends keyof Grouped
    ? V extends keyof Grouped[G]
      ? Grouped[G][V]
      : never
    : never
  : K extends 'encryptionKeys'
    ? Config['encryptionKeys']
    : never

export interface Setting<T = unknown> {
  readonly kind: kind.ValueKind<NonNullable<T>>
  readonly default: T
  /** The default in words, where the value does not tell. */
  readonly defaultText?: string
  /** Names in the environment; the first is the documented one, the others are accepted. */
  readonly env: readonly string[]
  /** Section and key in config.ini; null: cannot stand there. */
  readonly ini: readonly [section: string, key: string] | null
  readonly flag?: string
  /** Never shown; may also come from the file that `<NAME>_FILE` names. */
  readonly secret?: true
  readonly about: string
}

const DAY = 86_400
const MB = 1024 * 1024

export const SETTINGS: { readonly [K in SettingKey]: Setting<ValueOf<K>> } = {
  'database.url': {
    kind: kind.databaseUrl,
    default: '',
    defaultText: 'mail_service.db in the instance folder',
    env: ['GMP_DB_PATH', 'GMP_DATABASE_URL'],
    ini: ['storage', 'db_path'],
    flag: '--database-url',
    secret: true,
    about: 'SQLite file, or postgresql://user:password@host/database',
  },
  'database.poolSize': {
    kind: kind.wholeNumber('connections', { min: 2, max: 200 }),
    default: 10,
    env: ['GMP_DB_POOL_SIZE'],
    ini: ['storage', 'pool_size'],
    about: 'PostgreSQL connections kept by one process',
  },
  'database.answerTimeoutMs': {
    kind: kind.seconds({ min: 1, max: 3600 }),
    default: 60_000,
    env: ['GMP_DB_TIMEOUT'],
    ini: ['storage', 'db_timeout'],
    about: 'seconds to wait for an answer of PostgreSQL before its connection is given up',
  },
  'database.release': {
    kind: kind.yesNo,
    default: false,
    env: [],
    ini: null,
    flag: '--release',
    about: 'let a database send that was found to be restored; only by flag, once',
  },
  'queue.minFreeMb': {
    kind: kind.wholeNumber('MB', { min: 0, max: 10_000_000 }),
    default: 256,
    env: ['GMP_MIN_FREE_MB'],
    ini: ['storage', 'min_free_mb'],
    about: 'below this much free disk submissions get 503 and no message is claimed',
  },
  encryptionKeys: {
    kind: kind.encryptionKeys,
    default: null,
    defaultText: 'the key file of the instance folder',
    env: ['GMP_ENCRYPTION_KEY', 'MAIL_PROXY_ENCRYPTION_KEY'],
    ini: ['storage', 'encryption_key'],
    secret: true,
    about: 'the key that seals stored secrets; while it is being replaced the old one and the new one',
  },
  'server.host': {
    kind: kind.hostName,
    default: '127.0.0.1',
    env: ['GMP_HOST'],
    ini: ['server', 'host'],
    flag: '--host',
    about: 'address to listen on',
  },
  'server.port': {
    kind: kind.port,
    default: 8000,
    env: ['GMP_PORT'],
    ini: ['server', 'port'],
    flag: '--port',
    about: 'port to listen on; 0 takes a free one, and the default moves on when it is in use',
  },
  'server.role': {
    kind: kind.oneOf(['all', 'api', 'worker']),
    default: 'all',
    env: ['GMP_ROLE'],
    ini: ['server', 'role'],
    flag: '--role',
    about: 'what this process does: answer the API, send, or all; SQLite knows only all',
  },
  'server.insecureNoAuth': {
    kind: kind.yesNo,
    default: false,
    env: [],
    ini: null,
    flag: '--insecure-no-auth',
    about: 'answer without any authentication; only by flag and only on a loopback address',
  },
  'server.apiToken': {
    kind: kind.headerToken,
    default: null,
    defaultText: 'made at the first start and kept in the token file of the instance folder',
    env: ['GMP_API_TOKEN', 'API_TOKEN'],
    ini: ['server', 'api_token'],
    secret: true,
    about: 'the admin token',
  },
  'server.metricsToken': {
    kind: kind.headerToken,
    default: null,
    defaultText: '/metrics is public',
    env: ['GMP_METRICS_TOKEN'],
    ini: ['server', 'metrics_token'],
    secret: true,
    about: 'token that /metrics asks for',
  },
  'server.maxBodyBytes': {
    kind: kind.wholeNumber('MB', { min: 1, max: 1024 }, MB),
    default: 50 * MB,
    defaultText: '50',
    env: ['GMP_MAX_BODY_MB'],
    ini: ['server', 'max_body_mb'],
    about: 'largest request body in MB',
  },
  'server.maxConnections': {
    kind: kind.wholeNumber('connections', { min: 0, max: 1_000_000 }),
    default: 10_000,
    env: ['GMP_MAX_CONNECTIONS'],
    ini: ['server', 'max_connections'],
    about: 'HTTP connections open at once; what is over it is closed; 0: no limit',
  },
  'server.requestsPerMinute': {
    kind: kind.wholeNumber('requests', { min: 0, max: 10_000_000 }),
    default: 600_000,
    env: ['GMP_REQUESTS_PER_MINUTE'],
    ini: ['server', 'requests_per_minute'],
    about: 'requests a minute one caller may make before it gets 429; 0: no limit',
  },
  'server.ui': {
    kind: kind.yesNo,
    default: true,
    env: ['GMP_UI'],
    ini: ['server', 'ui'],
    about: 'serve the dashboard',
  },
  'network.allowPrivate': {
    kind: kind.yesNo,
    default: false,
    env: ['GMP_ALLOW_PRIVATE_NETWORKS'],
    ini: ['server', 'allow_private_networks'],
    about: 'let addresses that tenants set be loopback or private ones',
  },
  'network.allowed': {
    kind: kind.networks,
    default: [],
    env: ['GMP_ALLOWED_NETWORKS'],
    ini: ['server', 'allowed_networks'],
    about: 'private networks that tenants may nevertheless use, comma-separated',
  },
  'scheduler.active': {
    kind: kind.yesNo,
    default: true,
    env: ['GMP_SCHEDULER_ACTIVE'],
    ini: ['scheduler', 'active'],
    about: 'whether a new database begins with sending on; later the suspend and activate commands decide',
  },
  'scheduler.timezone': {
    kind: kind.timezone,
    default: 'UTC',
    env: ['GMP_TIMEZONE'],
    ini: ['scheduler', 'timezone'],
    about: 'time zone of rules that name none',
  },
  'reports.url': {
    kind: kind.httpUrl,
    default: null,
    env: ['GMP_CLIENT_SYNC_URL'],
    ini: ['client', 'client_sync_url'],
    about: 'where reports go for tenants without a client_base_url',
  },
  'reports.user': {
    kind: kind.plainText,
    default: null,
    env: ['GMP_CLIENT_SYNC_USER'],
    ini: ['client', 'client_sync_user'],
    about: 'user name for that URL (basic authentication)',
  },
  'reports.password': {
    kind: kind.plainText,
    default: null,
    env: ['GMP_CLIENT_SYNC_PASSWORD'],
    ini: ['client', 'client_sync_password'],
    secret: true,
    about: 'password for that URL (basic authentication)',
  },
  'reports.token': {
    kind: kind.headerToken,
    default: null,
    env: ['GMP_CLIENT_SYNC_TOKEN'],
    ini: ['client', 'client_sync_token'],
    secret: true,
    about: 'bearer token for that URL; wins over user and password',
  },
  'reports.syncIntervalMs': {
    kind: kind.seconds({ min: 1, max: DAY }),
    default: 300_000,
    env: ['GMP_SYNC_INTERVAL'],
    ini: ['client', 'sync_interval'],
    about: 'seconds between calls to a tenant with nothing to report',
  },
  'reports.timeoutMs': {
    kind: kind.seconds({ min: 1, max: 600 }),
    default: 30_000,
    env: ['GMP_SYNC_TIMEOUT'],
    ini: ['client', 'sync_timeout'],
    about: 'seconds a report request may take',
  },
  'reports.giveUpMs': {
    kind: kind.seconds({ min: 3600, max: 365 * DAY }),
    default: 30 * DAY * 1000,
    env: ['GMP_SYNC_GIVE_UP_SECONDS'],
    ini: ['client', 'sync_give_up_seconds'],
    about: 'seconds after which a report nobody acknowledges is dropped',
  },
  'reports.maxConcurrent': {
    kind: kind.wholeNumber('requests', { min: 1, max: 1000 }),
    default: 50,
    env: ['GMP_SYNC_MAX_CONCURRENT'],
    ini: ['client', 'sync_max_concurrent'],
    about: 'tenants called at once; one request at a time for each',
  },
  'attachments.baseDir': {
    kind: kind.filePath,
    default: null,
    defaultText: 'attachments from the file system are refused',
    env: ['GMP_ATTACHMENT_BASE_DIR'],
    ini: ['client', 'attachment_base_dir'],
    about: 'directory under which filesystem attachments lie',
  },
  'attachments.baseUrl': {
    kind: kind.httpUrl,
    default: null,
    env: ['GMP_ATTACHMENT_BASE_URL'],
    ini: ['client', 'attachment_base_url'],
    about: 'where endpoint attachments are asked for when the tenant has no client_base_url',
  },
  'attachments.timeoutMs': {
    kind: kind.seconds({ min: 1, max: 3600 }),
    default: 30_000,
    env: ['GMP_ATTACHMENT_TIMEOUT'],
    ini: ['client', 'attachment_timeout'],
    about: 'seconds one attachment may take to fetch',
  },
  'attachments.timeoutMsBySource': {
    kind: kind.byName(REMOTE_SOURCES, kind.seconds({ min: 1, max: 3600 })),
    default: {},
    defaultText: 'the same for all',
    env: ['GMP_ATTACHMENT_TIMEOUT_BY_SOURCE'],
    ini: ['client', 'attachment_timeout_by_source'],
    about: 'other seconds for some sources, as in volume:120,http_url:60',
  },
  'attachments.maxBytes': {
    kind: kind.wholeNumber('MB', { min: 1, max: 10_000 }, MB),
    default: 50 * MB,
    defaultText: '50',
    env: ['GMP_ATTACHMENT_MAX_MB'],
    ini: ['client', 'attachment_max_mb'],
    about: 'largest attachment in MB that is fetched',
  },
  'attachments.maxBytesBySource': {
    kind: kind.byName(REMOTE_SOURCES, kind.wholeNumber('MB', { min: 1, max: 10_000 }, MB)),
    default: {},
    defaultText: 'the same for all',
    env: ['GMP_ATTACHMENT_MAX_MB_BY_SOURCE'],
    ini: ['client', 'attachment_max_mb_by_source'],
    about: 'other MB for some sources, as in volume:200,http_url:20',
  },
  'attachments.spoolDir': {
    kind: kind.filePath,
    default: null,
    defaultText: 'spool in the instance folder',
    env: ['GMP_SPOOL_DIR'],
    ini: ['client', 'spool_dir'],
    about: 'directory for large attachments while their message is sent',
  },
  'queue.loopIntervalMs': {
    kind: kind.seconds({ min: 0.05, max: 60 }),
    default: 500,
    env: ['GMP_SEND_LOOP_INTERVAL'],
    ini: ['delivery', 'send_interval_seconds'],
    about: 'seconds between looks into the queue when nothing wakes the sender',
  },
  'scheduler.testMode': {
    kind: kind.yesNo,
    default: false,
    env: ['GMP_TEST_MODE'],
    ini: ['delivery', 'test_mode'],
    about: 'loops run only on run-now',
  },
  'queue.defaultPriority': {
    kind: kind.priority,
    default: 2,
    env: ['GMP_DEFAULT_PRIORITY'],
    ini: ['delivery', 'default_priority'],
    about: 'priority of messages that name none: 0 immediate, 1 high, 2 medium, 3 low',
  },
  'queue.batchSizePerAccount': {
    kind: kind.wholeNumber('messages', { min: 1, max: 10_000 }),
    default: 200,
    env: ['GMP_BATCH_SIZE_PER_ACCOUNT'],
    ini: ['delivery', 'batch_size_per_account'],
    about: 'most messages of one account claimed at once; not a rate',
  },
  'queue.maxRetries': {
    kind: kind.wholeNumber('retries', { min: 0, max: 1000 }),
    default: 5,
    env: ['GMP_MAX_RETRIES'],
    ini: ['delivery', 'max_retries'],
    about: 'attempts after the first before a message becomes an error',
  },
  'queue.retryDelaysMs': {
    kind: kind.secondsList({ min: 0, max: 30 * DAY }),
    default: [60_000, 300_000, 900_000, 3_600_000, 7_200_000],
    defaultText: '60,300,900,3600,7200',
    env: ['GMP_RETRY_DELAYS'],
    ini: ['delivery', 'retry_delays'],
    about: 'seconds before each retry, comma-separated; the last one repeats',
  },
  'queue.leaseMs': {
    kind: kind.seconds({ min: 2, max: 3600 }),
    default: 60_000,
    env: ['GMP_LEASE_SECONDS'],
    ini: ['delivery', 'lease_seconds'],
    about: 'seconds after which the messages of a dead process are given to another',
  },
  'queue.maxConcurrentSends': {
    kind: kind.wholeNumber('connections', { min: 1, max: 10_000 }),
    default: 200,
    env: ['GMP_MAX_CONCURRENT_SENDS'],
    ini: ['delivery', 'max_concurrent_sends'],
    about: 'SMTP transactions at once over all accounts',
  },
  'queue.retentionMs': {
    kind: kind.seconds({ min: 0, max: 3650 * DAY }),
    default: 7 * DAY * 1000,
    env: ['GMP_DELIVERY_REPORT_RETENTION_SECONDS'],
    ini: ['delivery', 'delivery_report_retention_seconds'],
    about: 'seconds a reported message is kept',
  },
  'queue.commandLogRetentionMs': {
    kind: kind.seconds({ min: 0, max: 3650 * DAY }),
    default: 90 * DAY * 1000,
    env: ['GMP_COMMAND_LOG_RETENTION_SECONDS'],
    ini: ['delivery', 'command_log_retention_seconds'],
    about: 'seconds an entry of the command log is kept',
  },
  'queue.stopTimeoutMs': {
    kind: kind.seconds({ min: 0, max: 3600 }),
    default: 10_000,
    env: ['GMP_STOP_TIMEOUT'],
    ini: ['delivery', 'stop_timeout'],
    about: 'seconds that messages under way get to end when the service stops',
  },
  'smtp.connectTimeoutMs': {
    kind: kind.seconds({ min: 1, max: 600 }),
    default: 30_000,
    env: ['GMP_SMTP_CONNECT_TIMEOUT'],
    ini: ['delivery', 'smtp_connect_timeout'],
    about: 'seconds to connect to an SMTP server',
  },
  'smtp.commandTimeoutMs': {
    kind: kind.seconds({ min: 1, max: 3600 }),
    default: 300_000,
    env: ['GMP_SMTP_COMMAND_TIMEOUT'],
    ini: ['delivery', 'smtp_command_timeout'],
    about: 'seconds to wait for the reply to an SMTP command (RFC 5321 4.5.3.2)',
  },
  'smtp.finalReplyTimeoutMs': {
    kind: kind.seconds({ min: 1, max: 3600 }),
    default: 600_000,
    env: ['GMP_SMTP_FINAL_TIMEOUT'],
    ini: ['delivery', 'smtp_final_timeout'],
    about: 'seconds to wait for the reply to the final dot (RFC 5321 4.5.3.2.6)',
  },
  'smtp.heloName': {
    kind: kind.hostName,
    default: null,
    defaultText: "the host's name",
    env: ['GMP_HELO_NAME'],
    ini: ['delivery', 'helo_name'],
    about: 'name said in EHLO',
  },
  'smtp.probeFirstMs': {
    kind: kind.seconds({ min: 0.1, max: 3600 }),
    default: 5000,
    env: ['GMP_PROBE_FIRST'],
    ini: ['delivery', 'probe_first'],
    about: 'seconds before the first probe of a paused account; doubles from there',
  },
  'smtp.probeMaxMs': {
    kind: kind.seconds({ min: 0.1, max: DAY }),
    default: 300_000,
    env: ['GMP_PROBE_MAX'],
    ini: ['delivery', 'probe_max'],
    about: 'longest wait in seconds between probes of a paused account',
  },
  'smtp.slowSendMs': {
    kind: kind.seconds({ min: 0.1, max: 3600 }),
    default: 30_000,
    env: ['GMP_SLOW_SEND_SECONDS'],
    ini: ['delivery', 'slow_send_seconds'],
    about: 'an account slower than this many seconds a message shrinks to one connection',
  },
  'logging.level': {
    kind: kind.oneOf(['debug', 'info', 'warning', 'error'], { warn: 'warning' }),
    default: 'info',
    env: ['LOG_LEVEL', 'GMP_LOG_LEVEL'],
    ini: ['logging', 'level'],
    about: 'what is logged: debug, info, warning or error, and everything graver',
  },
  'logging.format': {
    kind: kind.oneOf(['text', 'json']),
    default: 'text',
    env: ['LOG_FORMAT', 'GMP_LOG_FORMAT'],
    ini: ['logging', 'format'],
    about: 'text for people, json for collectors',
  },
  'logging.deliveryActivity': {
    kind: kind.yesNo,
    default: false,
    env: ['GMP_LOG_DELIVERY_ACTIVITY'],
    ini: ['logging', 'delivery_activity'],
    about: 'log each attempt and each report request',
  },
  'cache.diskDir': {
    kind: kind.filePath,
    default: null,
    defaultText: 'attachments are cached in memory only',
    env: ['GMP_CACHE_DISK_DIR'],
    ini: ['cache', 'disk_dir'],
    about: 'directory of the attachment cache',
  },
  'cache.memoryMaxBytes': {
    kind: kind.wholeNumber('MB', { min: 0, max: 1_000_000 }, MB),
    default: 50 * MB,
    defaultText: '50',
    env: ['GMP_CACHE_MEMORY_MAX_MB'],
    ini: ['cache', 'memory_max_mb'],
    about: 'memory of the attachment cache in MB',
  },
  'cache.memoryTtlMs': {
    kind: kind.seconds({ min: 1, max: 365 * DAY }),
    default: 300_000,
    env: ['GMP_CACHE_MEMORY_TTL_SECONDS'],
    ini: ['cache', 'memory_ttl_seconds'],
    about: 'seconds an attachment stays in memory',
  },
  'cache.diskMaxBytes': {
    kind: kind.wholeNumber('MB', { min: 0, max: 100_000_000 }, MB),
    default: 500 * MB,
    defaultText: '500',
    env: ['GMP_CACHE_DISK_MAX_MB'],
    ini: ['cache', 'disk_max_mb'],
    about: 'disk space of the attachment cache in MB',
  },
  'cache.diskTtlMs': {
    kind: kind.seconds({ min: 1, max: 365 * DAY }),
    default: 3_600_000,
    env: ['GMP_CACHE_DISK_TTL_SECONDS'],
    ini: ['cache', 'disk_ttl_seconds'],
    about: 'seconds an attachment stays on disk',
  },
  'cache.diskThresholdBytes': {
    kind: kind.wholeNumber('KB', { min: 0, max: 1_000_000 }, 1024),
    default: 100 * 1024,
    defaultText: '100',
    env: ['GMP_CACHE_DISK_THRESHOLD_KB'],
    ini: ['cache', 'disk_threshold_kb'],
    about: 'attachments larger than this many KB go to disk',
  },
}

export const SETTING_KEYS = Object.keys(SETTINGS) as readonly SettingKey[]

/** Sections of config.ini in their documented order; [volumes] is passed on as written. */
export const INI_SECTIONS = [
  'storage',
  'server',
  'scheduler',
  'client',
  'delivery',
  'logging',
  'cache',
  'volumes',
] as const

/** Variables that are read elsewhere than in this table. */
export const OTHER_VARIABLES: Readonly<Record<string, string>> = {
  GMP_CONFIG: 'a config.ini to read in place of the one in the instance folder',
  GMP_INSTANCES_DIR: 'where the instance folders are (~/.mail-proxy)',
}

/** Variables of earlier versions that are read no more, and what takes their place. */
export const RETIRED_VARIABLES: Readonly<Record<string, string>> = {
  GMP_START_ACTIVE: 'set GMP_SCHEDULER_ACTIVE',
  GMP_DEBUG: 'set LOG_LEVEL=debug',
  GMP_PEC_ACCEPTANCE_TIMEOUT: 'it has no successor',
  GMP_BOUNCE_ENABLED: 'use PUT /instance',
  GMP_BOUNCE_IMAP_HOST: 'use PUT /instance',
  GMP_BOUNCE_IMAP_PORT: 'use PUT /instance',
  GMP_BOUNCE_IMAP_USER: 'use PUT /instance',
  GMP_BOUNCE_IMAP_PASSWORD: 'use PUT /instance',
  GMP_BOUNCE_IMAP_SSL: 'use PUT /instance',
  GMP_BOUNCE_POLL_INTERVAL: 'use PUT /instance',
}

/** The default as one would write it in config.ini; empty where there is none to write. */
export function defaultAsText(setting: Setting): string {
  const { default: value, defaultText } = setting
  if (value === null || value === '' || isEmpty(value)) return ''
  if (defaultText !== undefined) return defaultText
  if (typeof value === 'number' && setting.kind.expects.startsWith('seconds')) return String(value / 1000)
  return String(value)
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}
