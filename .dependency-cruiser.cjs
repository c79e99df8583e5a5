/**
 * Imports point downwards only (docs/architecture.md). The rules name each folder's own level and everything above it.
 * They hold for dist/, where the compiler has already dropped type-only imports: siblings may share types, not code.
 * The paths fit src/ as well, for a dependency-cruiser that can parse the TypeScript in use.
 */
const LEVELS = [
  // From the top; folders in one row are siblings.
  ['main'],
  ['cli'],
  ['service'],
  ['http', 'dashboard', 'delivery', 'reports', 'maintenance', 'backup', 'transfer', 'sealing'],
  ['messages'],
  ['accounts', 'tenants', 'volumes', 'rules', 'queue', 'offloads', 'attachments', 'mime', 'smtp', 'metrics', 'tracing'],
  // limits: below the queue, counting and claiming are one statement. oauth: below the accounts, which judge a grant by it.
  ['limits', 'oauth'],
  ['db'],
  ['lib'],
]

const at = names => `^(src|dist)/(${names.join('|')})(/|\\.(js|ts)$)`
const TESTS = '\\.test\\.(js|ts)$'

const upwards = LEVELS.slice(1).map((names, index) => ({
  name: `${names[0]}-imports-upwards`,
  comment: `${names.join(', ')} must not know what stands above`,
  severity: 'error',
  from: { path: at(names), pathNot: TESTS },
  to: { path: at(LEVELS.slice(0, index + 1).flat()), dependencyTypesNot: ['type-only'] },
}))

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'not-resolvable',
      comment: 'a wrong path or a missing package',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    ...upwards,
    {
      name: 'record-imports-sibling',
      comment: 'siblings share types at most; what two of them need belongs below, what joins them above',
      severity: 'error',
      from: { path: at(LEVELS[5]), pathNot: TESTS },
      // $2 is the folder that `at` found.
      to: { path: at(LEVELS[5]), pathNot: '^(src|dist)/$2/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-database-in-ports',
      comment: 'attachments, mime and smtp know no database; offload gets its store as a port',
      severity: 'error',
      from: { path: at(['attachments', 'mime', 'smtp']), pathNot: TESTS },
      to: { path: at(['db']), dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'configuration-is-handed-down',
      comment: 'only the command line loads the configuration; everyone else is given a Config',
      severity: 'error',
      from: { path: '^(src|dist)/', pathNot: `^(src|dist)/(main|cli/|config|load-config)|${TESTS}` },
      to: { path: '^(src|dist)/(load-config|config-)', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'client-stands-alone',
      comment:
        'an application installs the client: nothing of the service and no package may come with it, types aside',
      severity: 'error',
      from: { path: at(['client']), pathNot: TESTS },
      to: { pathNot: at(['client']), dependencyTypesNot: ['type-only', 'core'] },
    },
    {
      name: 'service-imports-client',
      comment: 'the client is for other programs; of ours only the command line is one',
      severity: 'error',
      from: { path: '^(src|dist)/', pathNot: `^(src|dist)/(main|cli/|client/)|${TESTS}` },
      to: { path: at(['client']) },
    },
    {
      name: 'dev-dependency-in-the-service',
      comment: 'a package the service imports must be installed with it',
      severity: 'error',
      from: { path: '^(src|dist)/', pathNot: TESTS },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.d\\.ts$' },
    tsPreCompilationDeps: 'specify',
    moduleSystems: ['es6', 'cjs'],
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
}
