// `oncejob resends`: runs that look like one call sent twice.
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayTime } from '../format.ts'

export const resends: Command = {
  name: 'resends',
  usage: '',
  says: 'list runs that look like one call sent twice: equal calls shortly one after the other',
  words: [0, 0],
  options: {
    hours: { value: 'N', says: 'of so many hours back, 1 to 720; default 24' },
    within: { value: 'MS', says: 'calls at most so many ms apart, 1 to 60000; default 5000' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [hours, withinMs] = [args.integer('hours', 1, 720), args.integer('within', 1, 60_000)]
    const report = await client.suspectedRepeats({
      ...(hours === undefined ? {} : { hours }),
      ...(withinMs === undefined ? {} : { withinMs }),
    })
    out.answer(report, () =>
      out.table(
        report.items,
        [
          { title: 'JOB', cell: (pair) => pair.jobName },
          { title: 'RUN', cell: (pair) => String(pair.runId), right: true },
          { title: 'AGAIN', cell: (pair) => String(pair.repeatRunId), right: true },
          { title: 'AFTER', cell: (pair) => `${pair.gapMs} ms`, right: true },
          { title: 'WHEN', cell: (pair) => sayTime(pair.createdAt, out.nowMs) },
        ],
        `none of ${report.examined} runs looks like a call sent twice`,
      ),
    )
    return exitCodes.ok.code
  },
}
