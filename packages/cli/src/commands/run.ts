// `oncejob run JOB`: ask for a run, and wait for it when asked to. With --save the job is saved in the same step.
import { isEnded, type JobInput, type RunDetail } from '@oncejob/protocol'
import { readJob, type Args } from '../args.ts'
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { codeOfRun, exitCodes, UsageError } from '../exit-codes.ts'
import { sayDuration, sayValue } from '../format.ts'
import { readJson, readParams, readText } from '../input.ts'
import { styleOfState } from '../run-state.ts'
import { readRunKey, runKeyOptions, sayCreated } from './run-key.ts'

// Often enough to look alive, seldom enough to cost nothing.
const lookEveryMs = 1000

const sayProgress = (run: RunDetail, waitedMs: number): string => {
  const why = run.state === 'waiting' || run.state === 'unknown' ? run.why.map(({ says }) => says).join('; ') : ''
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

const isJob = (value: unknown): value is JobInput =>
  typeof value === 'object' && value !== null && 'name' in value && 'processor' in value

/** The job of --save; undefined when a job is named instead. */
const savedJob = (args: Args): JobInput | undefined => {
  const file = args.text('save')
  if ((file === undefined) !== (args.words.length === 1)) {
    throw new UsageError('name a job, or give a file with one: oncejob run JOB, or oncejob run --save FILE.json')
  }
  if (file === undefined) return undefined
  const value = readJson(readText(file), file)
  // the server judges the rest; this tells a wrong file from a wrong job
  if (!isJob(value)) throw new UsageError(`${file} is not one job: {"name": "…", "processor": "…", …}`)
  return value
}

export const runJob: Command = {
  name: 'run',
  usage: 'JOB | --save FILE.json',
  says: 'start one run of a job, named by id or name; with --save of the job in a file',
  words: [0, 1],
  options: {
    params: { short: 'p', value: 'JSON|@FILE', says: 'parameters of the run' },
    save: {
      value: 'FILE.json',
      says: 'create or update the job of this file ({"name": …, "processor": …}) and run it: both or neither; - reads stdin',
    },
    wait: { short: 'w', says: 'wait for its end; the exit code says how it ended' },
    timeout: { value: 'TIME', says: 'with --wait: wait no longer than this, e.g. 90s' },
    delay: { value: 'TIME', says: 'start that much later, e.g. 500 (ms), 90s, 2h' },
    priority: { value: 'N', says: '-1000 to 1000, higher starts first' },
    ...runKeyOptions,
    'request-key': { value: 'KEY', says: 'identity of this call, to send it again; default: a new one' },
    ...connectionOptions,
  },
  async run(context) {
    const { args, out, client } = context
    const [params, requestKey] = [args.text('params'), args.text('request-key')]
    const [delayMs, priority] = [args.durationMs('delay'), args.integer('priority', -1000, 1000)]
    const input = {
      ...(params === undefined ? {} : { params: readParams(params) }),
      ...(delayMs === undefined ? {} : { delayMs }),
      ...(priority === undefined ? {} : { priority }),
      ...readRunKey(args),
    }
    const options = requestKey === undefined ? {} : { requestKey }
    const job = savedJob(args)
    if (job === undefined) {
      const created = await client.runs.create({ job: readJob(args.word(0)), ...input }, options)
      if (args.flag('wait')) {
        if (created.deduplicated === true) out.note(sayCreated(created))
        return waitFor(created.id, context)
      }
      out.answer(created, () => out.line(sayCreated(created)))
      return exitCodes.ok.code
    }
    const saved = await client.saveAndRun(job, input, options)
    const says = `job "${saved.job.name}" (${saved.job.id}) was ${saved.job.outcome === 'unchanged' ? 'there already' : saved.job.outcome}`
    if (args.flag('wait')) {
      out.note(`${says}; ${sayCreated(saved.run)}`)
      return waitFor(saved.run.id, context)
    }
    out.answer(saved, () => {
      out.line(says)
      out.line(sayCreated(saved.run))
    })
    return exitCodes.ok.code
  },
}
