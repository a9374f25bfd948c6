// `oncejob workers`: who executes.
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayTime } from '../format.ts'

export const workers: Command = {
  name: 'workers',
  usage: '',
  says: 'list the workers that are connected',
  words: [0, 0],
  options: { all: { says: 'also those that have left or were lost' }, ...connectionOptions },
  async run({ args, out, client }) {
    const page = await client.workers.list({ state: args.flag('all') ? 'all' : 'live' }).page()
    out.page(
      page,
      [
        { title: 'SESSION', cell: (worker) => String(worker.sessionId), right: true },
        { title: 'NAME', cell: (worker) => worker.name },
        {
          title: 'STATE',
          cell: ({ state, endReason }) => (endReason === null ? state : `${state} (${endReason})`),
          style: ({ state }) => (state === 'live' ? 'green' : state === 'late' ? 'red' : 'dim'),
        },
        { title: 'RUNS', cell: ({ running, slots }) => `${running}/${slots}`, right: true },
        { title: 'PROCESSORS', cell: ({ processors }) => processors.join(' ') },
        {
          title: 'LABELS',
          cell: ({ labels }) =>
            Object.entries(labels)
              .map(([name, value]) => `${name}=${value}`)
              .join(' ') || '–',
        },
        { title: 'SINCE', cell: ({ startedAt }) => sayTime(startedAt, out.nowMs) },
      ],
      'no workers',
    )
    return exitCodes.ok.code
  },
}
