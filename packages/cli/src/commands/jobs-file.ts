// `oncejob jobs apply` and `jobs export`: jobs as a file under version control.
import type { JobExport } from '@oncejob/protocol'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { readJson, readText } from '../input.ts'

const isExport = (value: unknown): value is JobExport =>
  typeof value === 'object' && value !== null && 'format' in value && 'jobs' in value && Array.isArray(value.jobs)

export const applyJobs: Command = {
  name: 'jobs apply',
  usage: 'FILE.json',
  says: 'create or update the jobs of a file, by name, all or none; - reads stdin',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const file = args.word(0)
    const value = readJson(readText(file), file)
    if (!isExport(value)) throw new UsageError(`${file} is not {"format": "oncejob.jobs/1", "jobs": [...]}`)
    const result = await client.jobs.import(value)
    out.answer(result, () =>
      out.table(
        result.jobs,
        [
          { title: 'ID', cell: (job) => String(job.id), right: true },
          { title: 'NAME', cell: (job) => job.name },
          {
            title: 'OUTCOME',
            cell: (job) => job.outcome,
            style: (job) => (job.outcome === 'unchanged' ? 'dim' : 'green'),
          },
        ],
        'the file has no jobs',
      ),
    )
    return exitCodes.ok.code
  },
}

export const exportJobs: Command = {
  name: 'jobs export',
  usage: '',
  says: 'print the jobs in the form that jobs apply takes',
  words: [0, 0],
  options: {
    q: { value: 'TEXT', says: 'only with this text in the name or description' },
    tag: { value: 'TAG', says: 'only with this tag' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const [q, tag] = [args.text('q'), args.text('tag')]
    const jobs = await client.jobs.export({ ...(q === undefined ? {} : { q }), ...(tag === undefined ? {} : { tag }) })
    out.raw(`${JSON.stringify(jobs, null, 2)}\n`)
    return exitCodes.ok.code
  },
}
