// `oncejob run show ID`: everything about one run, and why it waits when it waits.
import { OnceJobError } from '@oncejob/client'
import type { Attempt, JavaRunDetail, RunDetail } from '@oncejob/protocol'
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayDuration, sayTime, sayValue } from '../format.ts'
import type { Output, Style } from '../output.ts'
import { styleOfState } from '../run-state.ts'

const sayLength = (from: string, to: string | null, nowMs: number): string =>
  sayDuration(Math.max(0, (to === null ? nowMs : Date.parse(to)) - Date.parse(from)))

const showAttempts = (attempts: readonly Attempt[], out: Output): void => {
  out.raw('\n')
  out.table(
    attempts,
    [
      { title: 'ATTEMPT', cell: (attempt) => String(attempt.number), right: true },
      {
        title: 'OUTCOME',
        cell: (attempt) => attempt.outcome ?? 'running',
        style: ({ outcome }) => (outcome === 'failed' ? 'red' : undefined),
      },
      { title: 'WORKER', cell: (attempt) => attempt.worker ?? '–' },
      { title: 'LEASE', cell: (attempt) => String(attempt.lease), right: true },
      { title: 'STARTED', cell: (attempt) => sayTime(attempt.startedAt, out.nowMs) },
      { title: 'TOOK', cell: (attempt) => sayLength(attempt.startedAt, attempt.endedAt, out.nowMs) },
      { title: 'ERROR', cell: ({ error }) => (error === null ? '–' : `${error.code}: ${error.message}`) },
    ],
    'no attempts',
  )
}

type Fact = readonly [string, string, Style?]

/** What only some runs have. */
const moreFactsOf = (run: RunDetail): Fact[] => {
  const facts: Fact[] = []
  if (run.progress !== null) {
    const { percent, note } = run.progress
    const parts = [percent === null ? '' : `${percent} %`, note ?? '']
    facts.push(['progress', parts.filter((part) => part !== '').join(' ')])
  }
  if (run.state === 'succeeded') facts.push(['result', `${sayValue(run.result)}${run.resultTruncated ? ' (cut)' : ''}`])
  if (run.error !== null) facts.push(['error', `${run.error.code}: ${run.error.message}`, 'red'])
  if (run.decidedBy !== null) facts.push(['decided by', `${run.decidedBy}: its outcome was unknown`])
  for (const reason of run.why) facts.push(['waits because', `${reason.says} (${reason.code})`, 'yellow'])
  return facts
}

const show = (run: RunDetail, out: Output): void => {
  const state = run.stopRequested && run.state === 'running' ? 'running, asked to stop' : run.state
  const by =
    run.trigger === 'call' ? `a call (${run.requestKey ?? 'no request key'})` : `the schedule, for ${run.fireAt ?? '–'}`
  out.facts([
    ['run', `${run.id} of job "${run.job}" (${run.jobId}, app ${run.app})`],
    ['state', state, styleOfState(run.state)],
    ['asked for by', by],
    ...(run.key === null ? [] : [['run key', run.key] as const]),
    ['parameters', sayValue(run.params)],
    ['priority', String(run.priority)],
    ['guarantee', run.guarantee],
    ['created', sayTime(run.createdAt, out.nowMs)],
    ['due', sayTime(run.dueAt, out.nowMs)],
    ['started', sayTime(run.startedAt, out.nowMs)],
    ['ended', sayTime(run.endedAt, out.nowMs)],
    ['worker', run.worker ?? '–'],
    ...moreFactsOf(run),
  ])
  if (run.attemptHistory.length > 0) showAttempts(run.attemptHistory, out)
}

const sayCounters = ({ tasks }: JavaRunDetail): string =>
  tasks === null
    ? '–'
    : Object.entries(tasks)
        .map(([name, count]) => `${name} ${count}`)
        .join(', ')

const showJava = (java: JavaRunDetail, out: Output): void => {
  out.raw('\n')
  out.facts([
    ['java worker', java.worker ?? '–'],
    ['its tasks', sayCounters(java)],
    ['known', java.source === 'live' ? 'from the worker, just now' : `from its reports: ${java.says ?? '–'}`],
  ])
  if (java.taskList.length > 0) {
    out.raw('\n')
    out.table(
      java.taskList,
      [
        { title: 'TASK', cell: ({ id }) => id },
        { title: 'NAME', cell: ({ name }) => name },
        { title: 'STATE', cell: ({ state }) => state, style: ({ state }) => (state === 'failed' ? 'red' : undefined) },
        { title: 'WORKER', cell: ({ worker }) => worker ?? '–' },
        { title: 'CHANGED', cell: ({ changedAt }) => sayTime(changedAt, out.nowMs) },
        { title: 'RESULT', cell: ({ result }) => result ?? '–' },
      ],
      'no tasks',
    )
  }
  if (java.subRuns.length === 0) return
  out.raw('\n')
  out.table(
    java.subRuns.slice(0, 10),
    [
      { title: 'SUB-RUN', cell: ({ number }) => String(number), right: true },
      { title: 'STATE', cell: ({ state }) => state, style: ({ state }) => (state === 'failed' ? 'red' : undefined) },
      { title: 'STARTED', cell: ({ startedAt }) => sayTime(startedAt, out.nowMs) },
      { title: 'TOOK', cell: (one) => sayLength(one.startedAt, one.endedAt, out.nowMs) },
      { title: 'RESULT', cell: ({ result }) => result ?? '–' },
    ],
    'no sub-runs',
  )
}

/** What a Java worker says of the run; undefined when none had it. Their names are their addresses. */
const javaOf = async ({ worker, id }: RunDetail, { client }: CommandContext): Promise<JavaRunDetail | undefined> => {
  if (worker === null || !/^[^:\s]+:\d+$/.test(worker)) return undefined
  try {
    return await client.runs.java(id)
  } catch (error) {
    // a native worker may have such a name, too
    if (error instanceof OnceJobError && error.code === 'RUN_NOT_FOUND') return undefined
    throw error
  }
}

export const showRun: Command = {
  name: 'run show',
  usage: 'ID',
  says: 'show one run with its attempts, and why it waits',
  words: [1, 1],
  options: connectionOptions,
  async run(context) {
    const { args, out, client } = context
    const run = await client.runs.get(args.id(0))
    const java = out.json ? undefined : await javaOf(run, context)
    out.answer(run, () => show(run, out))
    if (java !== undefined) showJava(java, out)
    return exitCodes.ok.code
  },
}
