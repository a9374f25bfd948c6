// Who may import whom. The tables are the architecture; a violation's comment says where the code belongs.
const isTest = '[.]test[.]ts$'
// Fakes and contract suites that the tests of one package share; what several packages share is testkit.
const isTestHelp = '(/testing/|[.]contract[.]ts$)'
const tests = [isTest, isTestHelp]
const anyOf = (names) => `(${names.join('|')})`

// Rooms of the server by rank: a room sees every rank before its own, and of its own rank only what is named.
const ranks = [
  ['kernel'],
  ['timing', 'runs', 'workflows'],
  ['storage'],
  ['requests'],
  ['scheduling', 'dispatch', 'tasks', 'alarms', 'logs', 'retention'],
  ['powerjob'],
  ['http'],
]
// A job's definition includes its timing. A fire or a task's result makes work ready, and dispatch must be told.
const neighbours = { runs: ['timing'], scheduling: ['dispatch'], tasks: ['dispatch'] }

const rooms = ranks.flatMap((rank, at) =>
  rank.map((room) => ({ room, sees: [...ranks.slice(0, at).flat(), ...(neighbours[room] ?? [])] })),
)

// Packages of ours that a package may name. testkit and the tests see all; nothing that is published sees testkit.
const packages = {
  protocol: [],
  client: ['protocol'],
  worker: ['protocol'],
  idempotency: [],
  server: ['protocol'],
  cli: ['protocol', 'client', 'server'],
  testkit: ['protocol', 'client', 'worker', 'server'],
}
const published = ['protocol', 'client', 'worker', 'idempotency', 'server', 'cli']

const roomRules = rooms.map(({ room, sees }) => ({
  name: `room/${room}`,
  severity: 'error',
  comment:
    `${room}/ may import ${sees.length === 0 ? 'nothing else of the server' : sees.join(', ')}. ` +
    'Move what you need to one of these, or have wire.ts pass it in.',
  from: { path: `^packages/server/src/${room}/`, pathNot: tests },
  to: { path: '^packages/server/src/', pathNot: `^packages/server/src/${anyOf([room, ...sees])}/` },
}))

const packageRules = Object.entries(packages).map(([name, sees]) => ({
  name: `package/${name}`,
  severity: 'error',
  comment: `${name} may import ${sees.length === 0 ? 'no other package of ours' : sees.join(', ')}; what several share belongs in protocol.`,
  from: { path: `^packages/${name}/src/`, pathNot: tests },
  to: { path: '^packages/', pathNot: `^packages/${anyOf([name, ...sees])}/` },
}))

const businessOf = (rooms, modules, why) => ({
  name: `${modules[0]}-only-in-${rooms.join('-')}`,
  severity: 'error',
  comment: `${modules.join(' and ')} belong to ${rooms.join('/, ')}/: ${why}`,
  from: { path: '^packages/server/src/', pathNot: `^packages/server/src/${anyOf(rooms)}/` },
  to: { path: `node_modules/${anyOf(modules)}/` },
})

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...roomRules,
    ...packageRules,
    businessOf(['storage'], ['pg', '@electric-sql/pglite'], 'everyone else calls a function named after what it does.'),
    businessOf(
      ['powerjob', 'http'],
      ['fastify', '@fastify', '@scalar'],
      'the rules must not know how they were called.',
    ),
    {
      name: 'room-has-a-rank',
      severity: 'error',
      comment: 'A new folder of the server needs a place in the ranks of .dependency-cruiser.mjs before it gets code.',
      from: {
        path: '^packages/server/src/[^/]+/',
        pathNot: [isTestHelp, `^packages/server/src/${anyOf(rooms.map(({ room }) => room))}/`],
      },
      to: {},
    },
    {
      name: 'no-cycle',
      severity: 'error',
      comment: 'Two files that need each other are one file, or a third is missing.',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'resolvable',
      severity: 'error',
      comment: 'An import that cannot be resolved cannot be checked.',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'packages-by-name',
      severity: 'error',
      comment: 'Cross the border of a package by its name: a path into it would not exist once it is installed.',
      from: { path: '^packages/([^/]+)/' },
      to: {
        path: '^packages/',
        pathNot: '^packages/$1/',
        dependencyTypes: ['local'],
        dependencyTypesNot: ['aliased-workspace'],
      },
    },
    {
      name: 'entrance-by-name',
      severity: 'error',
      comment: 'Examples, e2e and benchmarks use the packages as a user would: by name.',
      from: { path: '^(examples|e2e|bench)/' },
      to: { path: '^packages/', dependencyTypes: ['local'], dependencyTypesNot: ['aliased-workspace'] },
    },
    {
      name: 'declared',
      severity: 'error',
      comment:
        'A published package must list what it imports among its dependencies: here the root has it, there nobody does.',
      from: { path: `^packages/${anyOf(published)}/src/`, pathNot: tests },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-dev'], dependencyTypesNot: ['npm-peer'] },
    },
    {
      name: 'tests-are-leaves',
      severity: 'error',
      comment: 'Nothing imports a test; what two tests share belongs in testkit.',
      from: {},
      to: { path: isTest },
    },
    {
      name: 'test-help-in-tests',
      severity: 'error',
      comment: 'testing/ and contract suites are not shipped: only tests may import them.',
      from: { path: '^packages/', pathNot: tests },
      to: { path: isTestHelp },
    },
  ],
  options: {
    // TypeScript 7 has no API for dependency-cruiser: without swc it would see no modules at all and pass.
    parser: 'swc',
    tsPreCompilationDeps: 'specify',
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(packages/[^/]+/dist|[.]pack)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'node', 'default'],
      extensions: ['.ts', '.mjs', '.js'],
    },
  },
}
