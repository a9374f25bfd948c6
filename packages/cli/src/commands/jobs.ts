// `oncejob jobs`: list, show, enable, disable.
import type { Job } from '@oncejob/protocol'
import { readJob } from '../args.ts'
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayDuration, sayTime, sayTrigger, sayValue } from '../format.ts'

const listJobs: Command = {
  name: 'jobs',
  usage: '',
  says: 'list jobs',
  words: [0, 0],
  options: {
    q: { value: 'TEXT', says: 'only with this text in the name or description' },
    tag: { value: 'TAG', says: 'only with this tag' },
    enabled: { says: 'only enabled ones' },
    disabled: { says: 'only disabled ones' },
    limit: { value: 'N', says: 'at most so many, 1 to 500; default 50' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [q, tag, limit] = [args.text('q'), args.text('tag'), args.integer('limit', 1, 500)]
    const page = await client.jobs
      .list({
        sort: 'name',
        ...(q === undefined ? {} : { q }),
        ...(tag === undefined ? {} : { tag }),
        ...(limit === undefined ? {} : { limit }),
        ...(args.flag('enabled') === args.flag('disabled') ? {} : { enabled: args.flag('enabled') }),
      })
      .page()
    out.page(
      page,
      [
        { title: 'ID', cell: (job) => String(job.id), right: true },
        { title: 'NAME', cell: (job) => job.name },
        { title: 'ON', cell: (job) => (job.enabled ? 'yes' : 'no'), style: (job) => (job.enabled ? 'green' : 'dim') },
        { title: 'PROCESSOR', cell: (job) => job.processor },
        {
          title: 'GUARANTEE',
          cell: (job) => job.guarantee,
          style: (job) => (job.guarantee === 'at-most-once' ? 'cyan' : 'dim'),
        },
        { title: 'RUNS', cell: (job) => sayTrigger(job.schedule.trigger) },
        { title: 'NEXT FIRE', cell: (job) => sayTime(job.nextFireAt, out.nowMs) },
      ],
      'no jobs',
      '--limit N, or --q TEXT',
    )
    return exitCodes.ok.code
  },
}

const sayLimit = (ms: number | null): string => (ms === null ? 'none' : sayDuration(ms))

/** Shows one job the way people read it. */
const factsOf = (job: Job, { out }: Pick<CommandContext, 'out'>): void =>
  out.facts([
    ['job', `${job.name} (${job.id}, version ${job.version}, app ${job.app})`],
    ['description', job.description ?? '–'],
    ['enabled', job.enabled ? 'yes' : 'no', job.enabled ? 'green' : 'yellow'],
    ['processor', job.processor],
    ['parameters', sayValue(job.params)],
    ['runs', `${sayTrigger(job.schedule.trigger)} (${job.schedule.zone})`],
    ['next fire', sayTime(job.nextFireAt, out.nowMs)],
    ['misfire', job.schedule.misfire.policy],
    ['overlap', job.schedule.overlap],
    ['runs at once', job.maxConcurrentRuns === 0 ? 'no limit' : `at most ${job.maxConcurrentRuns}`],
    ['priority', String(job.priority)],
    ['guarantee', job.guarantee],
    [
      'retries',
      job.retry.max === 0 ? 'none' : `${job.retry.max}, ${job.retry.backoff} from ${sayDuration(job.retry.delayMs)}`,
    ],
    [
      'timeouts',
      `queue ${sayLimit(job.queueTimeoutMs)}, attempt ${sayLimit(job.attemptTimeoutMs)}, run ${sayLimit(job.runTimeoutMs)}`,
    ],
    [
      'worker labels',
      Object.entries(job.workers.labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ') || '–',
    ],
    ['tag', job.tag ?? '–'],
    ['changed', sayTime(job.updatedAt, out.nowMs)],
  ])

const showJob: Command = {
  name: 'jobs show',
  usage: 'JOB',
  says: 'show one job, named by id or name',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const job = await client.jobs.get(readJob(args.word(0)))
    out.answer(job, () => factsOf(job, { out }))
    return exitCodes.ok.code
  },
}

const switchJob = (action: 'enable' | 'disable'): Command => ({
  name: `jobs ${action}`,
  usage: 'JOB',
  says: action === 'enable' ? 'let the schedule of a job fire' : 'keep the schedule of a job from firing',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const job = await client.jobs[action](readJob(args.word(0)))
    out.answer(job, () => out.line(`job ${job.id} "${job.name}" is ${job.enabled ? 'enabled' : 'disabled'}`))
    return exitCodes.ok.code
  },
})

export const jobCommands: readonly Command[] = [listJobs, showJob, switchJob('enable'), switchJob('disable')]
