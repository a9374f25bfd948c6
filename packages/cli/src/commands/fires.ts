// `oncejob fires`: what became of the planned occurrences.
import { fireOutcomes } from '@oncejob/protocol'
import { readJob } from '../args.ts'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayTime } from '../format.ts'

export const fires: Command = {
  name: 'fires',
  usage: '',
  says: 'list fires, newest first: fired, skipped, coalesced, missed, and why',
  words: [0, 0],
  options: {
    job: { value: 'JOB', says: 'only of this job, by id or name' },
    outcome: { value: 'OUTCOME', says: `only ${fireOutcomes.join(', ')}` },
    limit: { value: 'N', says: 'at most so many, 1 to 500; default 50' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [job, outcome, limit] = [
      args.text('job'),
      args.choice('outcome', fireOutcomes),
      args.integer('limit', 1, 500),
    ]
    const page = await client.fires
      .list({
        ...(job === undefined ? {} : { job: readJob(job) }),
        ...(outcome === undefined ? {} : { outcome }),
        ...(limit === undefined ? {} : { limit }),
      })
      .page()
    out.answer(page, () =>
      out.table(
        page.items,
        [
          { title: 'JOB', cell: (fire) => String(fire.jobId), right: true },
          { title: 'FIRE', cell: (fire) => sayTime(fire.fireAt, out.nowMs) },
          {
            title: 'OUTCOME',
            cell: (fire) => fire.outcome,
            style: (fire) => (fire.outcome === 'fired' ? 'green' : 'yellow'),
          },
          { title: 'RUN', cell: (fire) => (fire.runId === null ? '–' : String(fire.runId)), right: true },
          { title: 'COVERS', cell: (fire) => String(fire.covers), right: true },
          { title: 'REASON', cell: (fire) => fire.reason ?? '–' },
        ],
        'no fires',
      ),
    )
    return exitCodes.ok.code
  },
}
