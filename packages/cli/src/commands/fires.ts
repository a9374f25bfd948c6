// `oncejob fires`: what became of the planned occurrences, and what Java workers repeat by themselves.
import { fireKinds, fireOutcomes, type Fire } from '@oncejob/protocol'
import { readJob } from '../args.ts'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayTime } from '../format.ts'
import type { Style } from '../output.ts'

const styleOf = ({ outcome, subRun }: Fire): Style => {
  if (subRun?.state === 'failed') return 'red'
  return outcome === 'fired' ? 'green' : 'yellow'
}

/** The run, and which execution within it. */
const sayRun = ({ runId, subRun }: Fire): string => {
  if (runId === null) return '–'
  return subRun === null ? String(runId) : `${runId} #${subRun.number}`
}

/** Why nothing was fired; of a sub-run how it ended. */
const saySays = ({ reason, subRun }: Fire): string => {
  if (subRun === null) return reason ?? '–'
  return subRun.result === null ? subRun.state : `${subRun.state}: ${subRun.result}`
}

export const fires: Command = {
  name: 'fires',
  usage: '',
  says: 'list fires and sub-runs, newest first: fired, skipped, coalesced, missed, and why',
  words: [0, 0],
  options: {
    job: { value: 'JOB', says: 'only of this job, by id or name' },
    outcome: { value: 'OUTCOME', says: `only ${fireOutcomes.join(', ')}` },
    kind: { value: 'KIND', says: `only ${fireKinds.join(', ')}: what was planned, or what Java workers repeat` },
    limit: { value: 'N', says: 'at most so many, 1 to 500; default 50' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [job, outcome, kind, limit] = [
      args.text('job'),
      args.choice('outcome', fireOutcomes),
      args.choice('kind', fireKinds),
      args.integer('limit', 1, 500),
    ]
    const page = await client.fires
      .list({
        ...(job === undefined ? {} : { job: readJob(job) }),
        ...(outcome === undefined ? {} : { outcome }),
        ...(kind === undefined ? {} : { kind }),
        ...(limit === undefined ? {} : { limit }),
      })
      .page()
    out.page(
      page,
      [
        { title: 'JOB', cell: (fire) => String(fire.jobId), right: true },
        { title: 'FIRE', cell: (fire) => sayTime(fire.fireAt, out.nowMs) },
        { title: 'OUTCOME', cell: (fire) => fire.outcome, style: styleOf },
        { title: 'RUN', cell: sayRun, right: true },
        { title: 'COVERS', cell: (fire) => String(fire.covers), right: true },
        { title: 'SAYS', cell: saySays },
      ],
      'no fires',
    )
    return exitCodes.ok.code
  },
}
