// `oncejob apps`: list, create, change, and a token for one.
import type { App, AppInput } from '@oncejob/protocol'
import type { Args, OptionSpecs } from '../args.ts'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayTime } from '../format.ts'
import { readText } from '../input.ts'

// what is not the default
const sayPowerjob = ({ hasPassword, powerjob }: App): string => {
  const words = [
    ...(hasPassword ? ['password'] : []),
    ...(powerjob.tokenless ? ['tokenless'] : []),
    ...(powerjob.copyEnabled ? ['copy-enabled'] : []),
    ...(powerjob.collapse === 'off' ? ['collapse-off'] : []),
    ...(powerjob.tagSubstring ? ['tag-substring'] : []),
    ...(powerjob.workerNetworks.length > 0 ? [`networks=${powerjob.workerNetworks.join(',')}`] : []),
  ]
  return words.length === 0 ? '–' : words.join(' ')
}

const switches = ['on', 'off'] as const

const wireOptions = {
  password: { value: '-|TEXT', says: 'what PowerJob clients authenticate with; - reads it from stdin' },
  tokenless: { value: 'on|off', says: 'take calls of PowerJob clients without a token, for clients 4.x' },
  'copy-enabled': { value: 'on|off', says: 'copies that PowerJob clients make of jobs stay enabled' },
  collapse: { value: 'evidence|off', says: 'recognise calls that PowerJob clients send again' },
  'tag-substring': { value: 'on|off', says: 'tagIn of a PowerJob job is met by a part of a tag of a Java worker' },
  'worker-networks': {
    value: 'LIST|none',
    says: 'where alone Java workers may be, like 10.1.0.0/16,worker-7; none: wherever they are seen',
  },
} as const satisfies OptionSpecs

// a line end that a shell or an editor adds is no part of it
const readPassword = (text: string): string => (text === '-' ? readText('-').replace(/\r?\n$/, '') : text)

const readNetworks = (text: string): string[] =>
  text === 'none'
    ? []
    : text
        .split(',')
        .map((one) => one.trim())
        .filter((one) => one !== '')

/** What the options above say of an app. */
const wireInput = (args: Args): Pick<AppInput, 'password' | 'powerjob'> => {
  const password = args.text('password')
  const [tokenless, copyEnabled] = [args.choice('tokenless', switches), args.choice('copy-enabled', switches)]
  const collapse = args.choice('collapse', ['evidence', 'off'])
  const tagSubstring = args.choice('tag-substring', switches)
  const networks = args.text('worker-networks')
  const powerjob = {
    ...(tokenless === undefined ? {} : { tokenless: tokenless === 'on' }),
    ...(copyEnabled === undefined ? {} : { copyEnabled: copyEnabled === 'on' }),
    ...(collapse === undefined ? {} : { collapse }),
    ...(tagSubstring === undefined ? {} : { tagSubstring: tagSubstring === 'on' }),
    ...(networks === undefined ? {} : { workerNetworks: readNetworks(networks) }),
  }
  return {
    ...(password === undefined ? {} : { password: readPassword(password) }),
    ...(Object.keys(powerjob).length === 0 ? {} : { powerjob }),
  }
}

const list: Command = {
  name: 'apps',
  usage: '',
  says: 'list apps (admin)',
  words: [0, 0],
  options: connectionOptions,
  async run({ out, client }) {
    const page = await client.apps.list().page()
    out.page(
      page,
      [
        { title: 'NAME', cell: (app) => app.name },
        { title: 'NAMESPACE', cell: (app) => app.namespace },
        { title: 'KEYS', cell: (app) => (app.requireRequestKeys ? 'required' : '–') },
        { title: 'POWERJOB', cell: sayPowerjob },
        { title: 'TITLE', cell: (app) => app.title ?? '–' },
        { title: 'CREATED', cell: (app) => sayTime(app.createdAt, out.nowMs) },
      ],
      'no apps: oncejob apps create NAME',
    )
    return exitCodes.ok.code
  },
}

const create: Command = {
  name: 'apps create',
  usage: 'NAME',
  says: 'create an app (admin)',
  words: [1, 1],
  options: {
    title: { value: 'TEXT', says: 'a name for people' },
    namespace: { value: 'NAME', says: 'default: default' },
    'require-keys': { says: 'take no change of this app without a request key (Idempotency-Key)' },
    ...wireOptions,
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [title, namespace] = [args.text('title'), args.text('namespace')]
    const app = await client.apps.create({
      name: args.word(0),
      ...(title === undefined ? {} : { title }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(args.flag('require-keys') ? { requireRequestKeys: true } : {}),
      ...wireInput(args),
    })
    out.answer(app, () => out.line(`app ${app.name} was created in namespace ${app.namespace}`))
    return exitCodes.ok.code
  },
}

const set: Command = {
  name: 'apps set',
  usage: 'NAME',
  says: 'change title, namespace, password or switches of an app (admin)',
  words: [1, 1],
  options: {
    title: { value: 'TEXT', says: 'a name for people' },
    namespace: { value: 'NAME', says: 'move it there' },
    keys: { value: 'required|optional', says: 'whether each change of this app needs a request key (Idempotency-Key)' },
    'no-password': { says: 'remove the password: PowerJob clients can not authenticate' },
    ...wireOptions,
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [title, namespace] = [args.text('title'), args.text('namespace')]
    const keys = args.choice('keys', ['required', 'optional'])
    if (args.flag('no-password') && args.text('password') !== undefined)
      throw new UsageError('--password and --no-password exclude each other')
    const change = {
      ...(title === undefined ? {} : { title }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(keys === undefined ? {} : { requireRequestKeys: keys === 'required' }),
      ...(args.flag('no-password') ? { password: null } : {}),
      ...wireInput(args),
    }
    if (Object.keys(change).length === 0) throw new UsageError('say what to change; see oncejob help apps set')
    const app = await client.apps.patch(args.word(0), change)
    out.answer(app, () => out.line(`app ${app.name} was changed`))
    return exitCodes.ok.code
  },
}

const token: Command = {
  name: 'apps token',
  usage: 'APP',
  says: 'make a token for an app and show it, this once (admin)',
  words: [1, 1],
  options: {
    name: { value: 'NAME', says: 'what it is for; default: cli' },
    scope: { value: 'SCOPE', says: 'app (default) or read' },
    expires: { value: 'TIME', says: 'RFC 3339; default: never' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [scope, expiresAt] = [args.choice('scope', ['app', 'read']), args.text('expires')]
    const made = await client.tokens.create(args.word(0), {
      name: args.text('name') ?? 'cli',
      ...(scope === undefined ? {} : { scope }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    })
    // Only the token goes to stdout, so that TOKEN=$(oncejob apps token shop) is all it takes.
    out.answer(made, () => {
      out.note(`token ${made.id} "${made.name}" of app ${made.app ?? '–'}, shown only this once:`)
      out.line(made.token)
    })
    return exitCodes.ok.code
  },
}

export const appCommands: readonly Command[] = [list, create, set, token]
