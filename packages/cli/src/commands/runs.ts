// `oncejob runs`: list runs, newest first.
import { runStates, runTriggers, type Run, type RunState } from '@oncejob/protocol'
import { readJob } from '../args.ts'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayDuration, sayTime, sayValue } from '../format.ts'
import { styleOfState } from '../run-state.ts'

const readStates = (text: string): RunState[] =>
  text.split(',').map((word) => {
    const state = runStates.find((known) => known === word.trim())
    if (state === undefined) throw new UsageError(`--state is a list of ${runStates.join(', ')}, not "${text}"`)
    return state
  })

export const runs: Command = {
  name: 'runs',
  usage: '',
  says: 'list runs, newest first',
  words: [0, 0],
  options: {
    job: { value: 'JOB', says: 'only of this job, by id or name' },
    state: { value: 'STATES', says: `only in these states: ${runStates.join(',')}` },
    trigger: { value: 'WHAT', says: 'only those asked for by schedule or call' },
    key: { value: 'KEY', says: 'only those with this run key' },
    'request-key': { value: 'KEY', says: 'only those made with this request key' },
    limit: { value: 'N', says: 'at most so many, 1 to 500; default 50' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [job, state] = [args.text('job'), args.text('state')]
    const [key, requestKey] = [args.text('key'), args.text('request-key')]
    const [trigger, limit] = [args.choice('trigger', runTriggers), args.integer('limit', 1, 500)]
    const page = await client.runs
      .list({
        ...(job === undefined ? {} : { job: readJob(job) }),
        ...(state === undefined ? {} : { state: readStates(state) }),
        ...(key === undefined ? {} : { key }),
        ...(requestKey === undefined ? {} : { requestKey }),
        ...(trigger === undefined ? {} : { trigger }),
        ...(limit === undefined ? {} : { limit }),
      })
      .page()
    out.page(
      page,
      [
        { title: 'ID', cell: (run) => String(run.id), right: true },
        { title: 'JOB', cell: (run) => run.job },
        { title: 'STATE', cell: (run) => run.state, style: (run) => styleOfState(run.state) },
        { title: 'BY', cell: (run) => run.trigger },
        // a column that most lists have no use for
        ...(page.items.some((run) => run.key !== null) ? [{ title: 'KEY', cell: (run: Run) => run.key ?? '–' }] : []),
        { title: 'DUE', cell: (run) => sayTime(run.dueAt, out.nowMs) },
        {
          title: 'TOOK',
          cell: ({ startedAt, endedAt }) =>
            startedAt === null || endedAt === null ? '–' : sayDuration(Date.parse(endedAt) - Date.parse(startedAt)),
          right: true,
        },
        { title: 'TRIES', cell: (run) => String(run.attempts), right: true },
        {
          title: 'RESULT',
          cell: (run) => (run.error === null ? sayValue(run.result) : `${run.error.code}: ${run.error.message}`),
        },
      ],
      'no runs',
      '--limit N, or --job and --state',
    )
    return exitCodes.ok.code
  },
}
