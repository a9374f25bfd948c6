// `oncejob apps`: list, create, and a token for one.
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayTime } from '../format.ts'

const list: Command = {
  name: 'apps',
  usage: '',
  says: 'list apps (admin)',
  words: [0, 0],
  options: connectionOptions,
  async run({ out, client }) {
    const page = await client.apps.list().page()
    out.answer(page, () =>
      out.table(
        page.items,
        [
          { title: 'NAME', cell: (app) => app.name },
          { title: 'NAMESPACE', cell: (app) => app.namespace },
          { title: 'KEYS', cell: (app) => (app.requireRequestKeys ? 'required' : '–') },
          { title: 'TITLE', cell: (app) => app.title ?? '–' },
          { title: 'CREATED', cell: (app) => sayTime(app.createdAt, out.nowMs) },
        ],
        'no apps: oncejob apps create NAME',
      ),
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
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [title, namespace] = [args.text('title'), args.text('namespace')]
    const app = await client.apps.create({
      name: args.word(0),
      ...(title === undefined ? {} : { title }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(args.flag('require-keys') ? { requireRequestKeys: true } : {}),
    })
    out.answer(app, () => out.line(`app ${app.name} was created in namespace ${app.namespace}`))
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

export const appCommands: readonly Command[] = [list, create, token]
