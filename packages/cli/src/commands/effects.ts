// `oncejob effects list|resolve`: what the attempts of a run did with ctx.once, and what became of it.
import type { RunEffect } from '@oncejob/protocol'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayTime, sayValue } from '../format.ts'
import { readJson } from '../input.ts'

const sayOutcome = ({ state, outcome, decidedBy }: RunEffect): string => {
  if (state !== 'done') return '–'
  const said = outcome === undefined ? 'nothing' : sayValue(outcome)
  return decidedBy === null ? said : `${said} (says ${decidedBy})`
}

const listEffects: Command = {
  name: 'effects list',
  usage: 'RUN',
  says: 'list the effects of a run',
  words: [1, 1],
  options: { limit: { value: 'N', says: 'at most so many, 1 to 500; default 50' }, ...connectionOptions },
  async run({ args, out, client }) {
    const limit = args.integer('limit', 1, 500)
    const page = await client.runs.effects(args.id(0), limit === undefined ? {} : { limit }).page()
    out.page(
      page,
      [
        { title: 'EFFECT', cell: (effect) => effect.name },
        {
          title: 'STATE',
          cell: (effect) => effect.state,
          style: ({ state }) => (state === 'unknown' ? 'yellow' : state === 'done' ? 'green' : 'cyan'),
        },
        { title: 'ATTEMPT', cell: (effect) => String(effect.attempt ?? '–'), right: true },
        { title: 'BEGAN', cell: (effect) => sayTime(effect.startedAt, out.nowMs) },
        { title: 'ENDED', cell: (effect) => sayTime(effect.endedAt, out.nowMs) },
        { title: 'OUTCOME', cell: sayOutcome },
      ],
      'no effects',
      '--limit N',
    )
    return exitCodes.ok.code
  },
}

const resolveEffect: Command = {
  name: 'effects resolve',
  usage: 'RUN EFFECT --done|--not-done',
  says: 'say whether an effect happened, while no attempt has the run',
  words: [2, 2],
  options: {
    done: { says: 'it happened: the next attempt gets the outcome and does not execute it' },
    'not-done': { says: 'it did not happen: the next attempt executes it' },
    outcome: { value: 'JSON', says: 'with --done: what it returned' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [done, outcome] = [args.flag('done'), args.text('outcome')]
    if (done === args.flag('not-done')) throw new UsageError('say either --done or --not-done')
    if (outcome !== undefined && !done) throw new UsageError('--outcome goes with --done')
    const answer = await client.runs.resolveEffect(args.id(0), args.word(1), {
      done,
      ...(outcome === undefined ? {} : { outcome: readJson(outcome, '--outcome') }),
    })
    out.answer(answer, () => {
      const now = answer.done ? 'is recorded as done' : 'is to be executed by the next attempt'
      out.line(`effect "${answer.name}" ${answer.changed ? now : 'was recorded so before'}`)
    })
    return exitCodes.ok.code
  },
}

export const effectCommands: readonly Command[] = [listEffects, resolveEffect]
