/** `mail-proxy <instance> [tenant] volumes …`: attachment stores, the shared ones or a tenant's own. */
import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { KEYS } from '../../attachments/stores/settings.js'
import { withApi } from '../api.js'
import { type Ask, createAsk, secretFromFile } from '../ask.js'
import { type Place, withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { CliError, UsageError } from '../errors.js'
import { show } from '../output/show.js'
import { type Field, fields, table } from '../output/table.js'

interface Volume {
  readonly id: number
  readonly name: string
  readonly backend: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly tenant_id?: string
  readonly account_id?: string
  readonly created_at?: string
}

interface VolumeFlags {
  readonly backend?: Backend
  readonly account?: string
  readonly set?: readonly string[]
  readonly secretFile?: readonly string[]
  readonly configFile?: string
  readonly json?: boolean
}

const BACKENDS = ['s3', 'gcs', 'azure', 'http', 'webdav', 'local'] as const
type Backend = (typeof BACKENDS)[number]

export function addVolumes(program: Command, place: Place): void {
  const whose = place.tenant === null ? 'shared by all tenants, or of one' : 'of this tenant'
  const volumes = program.command('volumes').description(`attachment stores ${whose}`)
  addListing(volumes, place)
  addShow(volumes, place)
  addAdd(volumes, place)
  addDelete(volumes, place)
}

function addListing(volumes: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = volumes
    .command('list')
    .description(tenant === null ? 'all volumes' : 'its own volumes and the shared ones')
    .action(async (options: { json?: boolean }) => {
      const { volumes: found } = await withApi(io, instance, api =>
        api.call<{ volumes: readonly Volume[] }>('GET', '/volumes', { query: { tenant_id: tenant } }),
      )
      show(io, options, { volumes: found }, () =>
        table(
          io,
          found,
          [
            { title: 'VOLUME', of: each => each.name, whole: true },
            { title: 'BACKEND', of: each => each.backend, whole: true },
            { title: 'FOR', of: ownerOf },
            { title: 'WHERE', of: whereOf },
            { title: 'SINCE', of: each => each.created_at?.slice(0, 10), whole: true },
          ],
          `there is no volume; \`${wordsOf(place)} volumes add\` makes one`,
        ),
      )
    })
  withExamples(withJson(command), [`${wordsOf(place)} volumes list`])
}

function addShow(volumes: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = volumes
    .command('show')
    .description('one volume, secrets masked')
    .argument('<volume>', 'name of the volume')
    .option('--account <account>', 'the one that messages of this account would use')
    .action(async (name: string, flags: VolumeFlags) => {
      const query = { tenant_id: tenant, account_id: flags.account }
      const volume = await withApi(io, instance, api => api.call<Volume>('GET', pathOf(name), { query }))
      show(io, flags, volume, () =>
        fields(io, [
          ['volume', volume.name],
          ['backend', volume.backend],
          ['for', ownerOf(volume)],
          ...Object.entries(volume.config ?? {}).flatMap(([key, value]) => flat(key, value)),
        ]),
      )
    })
  withExamples(withJson(command), [`${wordsOf(place)} volumes show files`])
}

function addAdd(volumes: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = volumes
    .command('add')
    .description('make a volume, or give one of this name a new config')
    .argument('[volume]', 'name, as messages say it in name:path')
    .addOption(new Option('--backend <backend>', 'what the store is').choices(BACKENDS))
    .option('--set <key=value>', 'a key of its config; auth.user=… goes inside; may be repeated', collect)
    .option('--secret-file <key=file>', 'a key whose value stands in a file, - is standard input', collect)
    .option('--config-file <file>', 'the whole config as JSON; - is standard input')
    .option('--account <account>', 'only for messages of this account')
    .action(async (given: string | undefined, flags: VolumeFlags) => {
      const ask = createAsk(io)
      const name = given ?? (await ask.text({ flag: '<volume>', label: 'Name of the volume' }))
      const backend =
        flags.backend ??
        (await ask.choose(
          { flag: '--backend', label: 'What is the store?', initial: 's3' },
          BACKENDS.map(value => ({ value, label: value })),
        ))
      const config =
        isConfigured(flags) || !ask.possible ? await configOf(io, flags) : await askConfig(io, ask, backend)
      const body = { name, backend, config, tenant_id: tenant, account_id: flags.account }
      await withApi(io, instance, api => api.call('POST', '/volume', { body }))
      const owner = { tenant_id: tenant ?? undefined, account_id: flags.account }
      show(io, flags, { name, backend, ...owner }, () => `volume ${name} is there for ${ownerOf(owner)}\n`)
    })
  withExamples(withJson(command), [
    `${wordsOf(place)} volumes add files --backend s3 --set bucket=acme-files --set region=eu-south-1 --set access_key_id=AKIA123 --secret-file secret_access_key=secret.txt`,
    `${wordsOf(place)} volumes add docs --backend http --set base_url=https://files.example.com --set auth.method=bearer --secret-file auth.token=token.txt`,
    `${wordsOf(place)} volumes add files --backend gcs --config-file files.json`,
  ])
}

function addDelete(volumes: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = volumes
    .command('delete')
    .description('forget a volume; the files in it stay')
    .argument('<volume>', 'name of the volume')
    .option('--account <account>', 'the one of this account')
    .option('-y, --yes', 'do not ask')
    .action(async (name: string, flags: VolumeFlags & { yes?: boolean }) => {
      const question = `Delete volume ${name}? Messages that wait for files in it will fail.`
      if (!flags.yes && !(await createAsk(io).confirm(question, '--yes'))) throw new CliError('nothing was deleted')
      const query = { tenant_id: tenant, account_id: flags.account }
      await withApi(io, instance, api => api.call('DELETE', pathOf(name), { query }))
      show(io, flags, { name, deleted: true }, () => `volume ${name} is deleted\n`)
    })
  withExamples(withJson(command), [`${wordsOf(place)} volumes delete files --yes`])
}

function wordsOf({ instance, tenant }: Place): string {
  return `mail-proxy ${tenant === null ? instance : `${instance} ${tenant}`}`
}

function pathOf(name: string): string {
  return `/volume/${encodeURIComponent(name)}`
}

function collect(value: string, all: readonly string[] = []): string[] {
  return [...all, value]
}

function isConfigured({ set, secretFile, configFile }: VolumeFlags): boolean {
  return set !== undefined || secretFile !== undefined || configFile !== undefined
}

/** What a store of this kind cannot do without, and what it may need to let us in. The rest has its flag. */
async function askConfig(io: CliIo, ask: Ask, backend: Backend): Promise<Readonly<Record<string, unknown>>> {
  const config: Record<string, unknown> = {}
  for (const [key, { kind, required = false }] of Object.entries(KEYS[backend])) {
    const question = { flag: `--set ${key}=…`, label: key, optional: !required }
    if (kind === 'secret') config[key] = await ask.secret({ ...question, label: `${key} (may stay empty)` })
    else if (kind === 'object') {
      const file = await ask.text({ ...question, label: `${key}: a file with JSON` })
      if (file !== '') config[key] = await jsonFrom(io, file)
    } else if (required || key === 'region') config[key] = await ask.text(question)
  }
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ''))
}

async function configOf(io: CliIo, flags: VolumeFlags): Promise<Readonly<Record<string, unknown>>> {
  const config: Record<string, unknown> = flags.configFile === undefined ? {} : await jsonFrom(io, flags.configFile)
  for (const each of flags.set ?? []) {
    const [key, value] = pairOf('--set', each)
    put(config, key, value)
  }
  for (const each of flags.secretFile ?? []) {
    const [key, file] = pairOf('--secret-file', each)
    put(config, key, await secretFromFile(io, file))
  }
  if (Object.keys(config).length === 0) throw new UsageError('its config is missing: --set key=value, or --config-file')
  return config
}

async function jsonFrom(io: CliIo, file: string): Promise<Record<string, unknown>> {
  const text = file === '-' ? await secretFromFile(io, file) : readText(file)
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch {
    // JSON.parse repeats what it read, and that may be a secret.
  }
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as Record<string, unknown>
  throw new UsageError(`${file === '-' ? 'standard input' : file} is not a JSON object`)
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new CliError(`${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
}

function pairOf(flag: string, text: string): readonly [key: string, value: string] {
  const at = text.indexOf('=')
  // What follows the sign may be a secret, and so may all of it where the sign was forgotten.
  if (at < 1) throw new UsageError(`${flag} should be key=value`)
  return [text.slice(0, at), text.slice(at + 1)]
}

/** `auth.token` is the token inside auth. */
function put(config: Record<string, unknown>, key: string, value: string): void {
  const [outer = '', ...inner] = key.split('.')
  if (inner.length === 0) {
    config[outer] = value
    return
  }
  const known = Object.hasOwn(config, outer) ? config[outer] : {}
  if (typeof known !== 'object' || known === null)
    throw new UsageError(`${outer} is a text and has no ${inner.join('.')}`)
  config[outer] = { ...known, [inner.join('.')]: value }
}

function ownerOf({ tenant_id: tenant, account_id: account }: Pick<Volume, 'tenant_id' | 'account_id'>): string {
  if (tenant === undefined && account === undefined) return 'all tenants'
  return account === undefined || account === tenant ? `${tenant}` : [tenant, account].filter(Boolean).join('/')
}

/** What tells one store from another at a glance. */
function whereOf({ config = {} }: Volume): string {
  const place = ['bucket', 'container', 'base_url', 'url', 'root', 'base_path', 'path'].find(key => key in config)
  return place === undefined ? '' : String(config[place])
}

function flat(key: string, value: unknown): Field[] {
  if (typeof value !== 'object' || value === null) return [[key, String(value)]]
  return Object.entries(value).flatMap(([name, inner]) => flat(`${key}.${name}`, inner))
}
