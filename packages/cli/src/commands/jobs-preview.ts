// `oncejob jobs preview`: when a schedule will fire.
import type { ScheduleInput } from '@oncejob/protocol'
import { readJob } from '../args.ts'
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayTime } from '../format.ts'

const scheduleOf = async (context: CommandContext): Promise<ScheduleInput> => {
  const { args } = context
  const expression = args.text('cron')
  const zone = args.text('zone')
  if ((expression === undefined) === (args.words.length === 0)) throw new UsageError('name a job, or give --cron EXPR')
  if (expression !== undefined) {
    return { trigger: { kind: 'cron', expression }, ...(zone === undefined ? {} : { zone }) }
  }
  const { schedule } = await context.client.jobs.get(readJob(args.word(0)))
  return zone === undefined ? schedule : { ...schedule, zone }
}

export const previewJob: Command = {
  name: 'jobs preview',
  usage: 'JOB | --cron EXPR',
  says: 'show the next fires of a job or of a cron expression',
  words: [0, 1],
  options: {
    cron: { value: 'EXPR', says: 'cron with 5, 6 (seconds first) or 7 (year last) fields' },
    zone: { value: 'ZONE', says: 'IANA time zone; default: the job’s, or UTC' },
    count: { value: 'N', says: 'how many, 1 to 100; default 10' },
    ...connectionOptions,
  },
  async run(context) {
    const { args, out, client } = context
    const count = args.integer('count', 1, 100)
    const schedule = await scheduleOf(context)
    const preview = await client.schedules.preview({ schedule, ...(count === undefined ? {} : { count }) })
    out.answer(preview, () => {
      if (preview.fires.length === 0) out.note('it will not fire')
      for (const fire of preview.fires) out.line(sayTime(fire, out.nowMs))
    })
    return exitCodes.ok.code
  },
}
