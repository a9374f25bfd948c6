// `oncejob run cancel|stop|retry|resolve ID`.
import { runActions as possible, runDecisions, type RunAction, type RunChanged } from '@oncejob/protocol'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { readJson } from '../input.ts'

// resolve says how, and has options
type PlainAction = Exclude<RunAction, 'resolve'>

const says: Record<PlainAction, string> = {
  cancel: 'take a waiting run back',
  stop: 'stop a run that has not ended',
  retry: 'start an ended run again; its history stays',
}

const sayAnswer = (action: RunAction, { id, state, changed }: RunChanged): string => {
  if (!changed) return `nothing to ${action}: run ${id} is ${state}`
  return action === 'stop' && state === 'running' ? `run ${id} was asked to stop` : `run ${id} is ${state}`
}

const command = (action: PlainAction): Command => ({
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

const resolveRun: Command = {
  name: 'run resolve',
  usage: 'ID --as succeeded|failed|retry',
  says: `say what became of a run (from: ${possible.resolve.join(', ')})`,
  words: [1, 1],
  options: {
    as: { value: 'WHAT', says: 'succeeded or failed end it, retry lets it be executed again' },
    result: { value: 'JSON', says: 'with --as succeeded: its result' },
    message: { value: 'TEXT', says: 'with --as failed: why' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [as, result, message] = [args.choice('as', runDecisions), args.text('result'), args.text('message')]
    if (as === undefined) throw new UsageError(`--as is missing: ${runDecisions.join(', ')}`)
    if (result !== undefined && as !== 'succeeded') throw new UsageError('--result goes with --as succeeded')
    if (message !== undefined && as !== 'failed') throw new UsageError('--message goes with --as failed')
    const answer = await client.runs.resolve(args.id(0), {
      as,
      ...(result === undefined ? {} : { result: readJson(result, '--result') }),
      ...(message === undefined ? {} : { message }),
    })
    out.answer(answer, () =>
      out.line(
        answer.changed
          ? `run ${answer.id} is ${answer.state}`
          : `it was decided before: run ${answer.id} is ${answer.state}`,
      ),
    )
    return exitCodes.ok.code
  },
}

export const runActions: readonly Command[] = [command('cancel'), command('stop'), command('retry'), resolveRun]
