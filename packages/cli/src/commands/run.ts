// `oncejob run JOB`: ask for a run, and wait for it when asked to.
import { isEnded, type RunDetail } from '@oncejob/protocol'
import { readJob } from '../args.ts'
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { codeOfRun, exitCodes } from '../exit-codes.ts'
import { sayDuration, sayValue } from '../format.ts'
import { readParams } from '../input.ts'
import { styleOfState } from '../run-state.ts'

// Often enough to look alive, seldom enough to cost nothing.
const lookEveryMs = 1000

const sayProgress = (run: RunDetail, waitedMs: number): string => {
  const why = run.state === 'waiting' ? run.why.map(({ says }) => says).join('; ') : ''
  const share = run.progress?.percent
  const parts = [
    share === null || share === undefined ? '' : `${share} %`,
    run.progress?.note ?? '',
    why,
    run.stopRequested ? 'asked to stop' : '',
  ].filter((part) => part !== '')
  return `run ${run.id} is ${run.state}, ${sayDuration(waitedMs)}${parts.length === 0 ? '' : `: ${parts.join(', ')}`}`
}

/** Waits for a run and shows it; the exit code says how it ended. */
const waitFor = async (id: number, { args, out, client }: CommandContext): Promise<number> => {
  const startedMs = out.nowMs
  const timeoutMs = args.durationMs('timeout')
  const run = await client.runs.wait(id, {
    everyMs: lookEveryMs,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    onUpdate: (now) => {
      if (!isEnded(now.state)) out.progress(now.state, sayProgress(now, out.nowMs - startedMs))
    },
  })
  out.endProgress()
  out.answer(run, () => {
    out.line(
      `run ${run.id} ${codeOfRun(run.state) === exitCodes.runGoesOn.code ? 'is still ' : ''}${run.state}`,
      styleOfState(run.state),
    )
    if (run.error !== null) out.line(`${run.error.code}: ${run.error.message}`)
    if (run.state === 'succeeded' && run.result !== null) out.line(sayValue(run.result))
    if (run.resultTruncated) out.note('the result was too long and is cut')
  })
  return codeOfRun(run.state)
}

export const runJob: Command = {
  name: 'run',
  usage: 'JOB',
  says: 'start one run of a job, named by id or name',
  words: [1, 1],
  options: {
    params: { short: 'p', value: 'JSON|@FILE', says: 'parameters of the run' },
    wait: { short: 'w', says: 'wait for its end; the exit code says how it ended' },
    timeout: { value: 'TIME', says: 'with --wait: wait no longer than this, e.g. 90s' },
    delay: { value: 'TIME', says: 'start that much later, e.g. 500 (ms), 90s, 2h' },
    priority: { value: 'N', says: '-1000 to 1000, higher starts first' },
    key: { value: 'KEY', says: 'request key; default: a new one' },
    ...connectionOptions,
  },
  async run(context) {
    const { args, out, client } = context
    const [params, requestKey] = [args.text('params'), args.text('key')]
    const [delayMs, priority] = [args.durationMs('delay'), args.integer('priority', -1000, 1000)]
    const created = await client.runs.create(
      {
        job: readJob(args.word(0)),
        ...(params === undefined ? {} : { params: readParams(params) }),
        ...(delayMs === undefined ? {} : { delayMs }),
        ...(priority === undefined ? {} : { priority }),
      },
      requestKey === undefined ? {} : { requestKey },
    )
    if (args.flag('wait')) return waitFor(created.id, context)
    out.answer(created, () => out.line(`run ${created.id} was created`))
    return exitCodes.ok.code
  },
}
