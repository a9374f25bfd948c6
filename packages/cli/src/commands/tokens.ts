// `oncejob tokens`: the tokens of an app, and taking one back.
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayTime } from '../format.ts'

const appOf = ({ args, env }: CommandContext): string => {
  const app = args.text('app') ?? env['ONCEJOB_APP']
  if (app === undefined || app === '') throw new UsageError('which app? --app NAME or ONCEJOB_APP')
  return app
}

const list: Command = {
  name: 'tokens',
  usage: '',
  says: 'list the tokens of --app (admin)',
  words: [0, 0],
  options: connectionOptions,
  async run(context) {
    const { out, client } = context
    const page = await client.tokens.list(appOf(context)).page()
    out.page(
      page,
      [
        { title: 'ID', cell: (token) => String(token.id), right: true },
        { title: 'NAME', cell: (token) => token.name },
        { title: 'SCOPE', cell: (token) => token.scope },
        { title: 'CREATED', cell: (token) => sayTime(token.createdAt, out.nowMs) },
        {
          title: 'EXPIRES',
          cell: (token) => (token.expiresAt === null ? 'never' : sayTime(token.expiresAt, out.nowMs)),
        },
      ],
      'no tokens: oncejob apps token APP',
    )
    return exitCodes.ok.code
  },
}

const revoke: Command = {
  name: 'tokens revoke',
  usage: 'ID',
  says: 'take a token of --app back, at once (admin)',
  words: [1, 1],
  options: connectionOptions,
  async run(context) {
    const id = context.args.id(0)
    await context.client.tokens.delete(appOf(context), id)
    context.out.answer({ id }, () => context.out.line(`token ${id} is revoked`))
    return exitCodes.ok.code
  },
}

export const tokenCommands: readonly Command[] = [list, revoke]
