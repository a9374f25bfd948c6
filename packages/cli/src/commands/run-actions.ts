// `oncejob run cancel|stop|retry ID`.
import { runActions as possible, type RunAction, type RunChanged } from '@oncejob/protocol'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'

const says: Record<RunAction, string> = {
  cancel: 'take a waiting run back',
  stop: 'stop a waiting or running run',
  retry: 'start an ended run again; its history stays',
}

const sayAnswer = (action: RunAction, { id, state, changed }: RunChanged): string => {
  if (!changed) return `nothing to ${action}: run ${id} is ${state}`
  return action === 'stop' && state === 'running' ? `run ${id} was asked to stop` : `run ${id} is ${state}`
}

const command = (action: RunAction): Command => ({
  name: `run ${action}`,
  usage: 'ID',
  says: `${says[action]} (from: ${possible[action].join(', ')})`,
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const answer = await client.runs[action](args.id(0))
    out.answer(answer, () => out.line(sayAnswer(action, answer)))
    return exitCodes.ok.code
  },
})

export const runActions: readonly Command[] = [command('cancel'), command('stop'), command('retry')]
