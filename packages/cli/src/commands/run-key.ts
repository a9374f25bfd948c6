// Run keys on the command line: the options of `oncejob run`, and `oncejob run-key show` and `reset`.
import {
  onClosedPolicies,
  onInputMismatchPolicies,
  onOpenPolicies,
  runKeyScopes,
  type JobRunInput,
  type KeyPolicy,
  type RunCreated,
  type RunKeyState,
} from '@oncejob/protocol'
import { readJob, type Args, type OptionSpecs } from '../args.ts'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayDuration, sayTime } from '../format.ts'
import type { Output } from '../output.ts'
import { styleOfState } from '../run-state.ts'

export const runKeyOptions = {
  key: { value: 'KEY', says: 'run key, what the run is about, e.g. order-4711: at most one run of it' },
  'on-open': { value: 'POLICY', says: `while its run is open: ${onOpenPolicies.join(', ')}; default return` },
  'on-closed': {
    value: 'POLICY',
    says: `when its run has ended: ${onClosedPolicies.join(', ')}; default allowIfFailed`,
  },
  'key-ttl': { value: 'TIME', says: 'how long the key lives after the end of its run, or forever; default 30d' },
  'key-scope': { value: 'SCOPE', says: 'whose key it is: job or app; default job' },
  'on-mismatch': { value: 'POLICY', says: 'when its run has other parameters: reject or ignore; default reject' },
} as const satisfies OptionSpecs

/** Key and policy as typed. */
export const readRunKey = (args: Args): Pick<JobRunInput, 'key' | 'keyPolicy'> => {
  const key = args.text('key')
  const scope = args.choice('key-scope', runKeyScopes)
  const onOpen = args.choice('on-open', onOpenPolicies)
  const onClosed = args.choice('on-closed', onClosedPolicies)
  const ttlMs = args.text('key-ttl') === 'forever' ? null : args.durationMs('key-ttl')
  const onInputMismatch = args.choice('on-mismatch', onInputMismatchPolicies)
  const keyPolicy: KeyPolicy = {
    ...(scope === undefined ? {} : { scope }),
    ...(onOpen === undefined ? {} : { onOpen }),
    ...(onClosed === undefined ? {} : { onClosed }),
    ...(ttlMs === undefined ? {} : { ttlMs }),
    ...(onInputMismatch === undefined ? {} : { onInputMismatch }),
  }
  const isEmpty = Object.keys(keyPolicy).length === 0
  if (key === undefined) {
    if (isEmpty) return {}
    throw new UsageError('--key-scope, --on-open, --on-closed, --key-ttl and --on-mismatch go with --key KEY')
  }
  return { key, ...(isEmpty ? {} : { keyPolicy }) }
}

/** What a call for a run came to, in words. */
export const sayCreated = ({ id, deduplicated, replaces, after }: RunCreated): string => {
  if (deduplicated === true) return `run ${id} was there already`
  if (replaces !== undefined) return `run ${id} was created and replaces run ${replaces}`
  return after === undefined ? `run ${id} was created` : `run ${id} was created and starts after run ${after}`
}

const options = {
  job: { value: 'JOB', says: 'job whose key it is, by id or name; without it the key is one of the app' },
  ...connectionOptions,
} as const satisfies OptionSpecs

const refOf = (args: Args): { key: string; job?: number | string } => {
  const job = args.text('job')
  return { key: args.word(0), ...(job === undefined ? {} : { job: readJob(job) }) }
}

const show = (known: RunKeyState, out: Output): void =>
  out.facts([
    ['key', `${known.key} (of the ${known.scope})`],
    ['run', `${known.runId}${known.after === null ? '' : `, waits for run ${known.after}`}`],
    ['state', known.state, styleOfState(known.state)],
    ['ended', sayTime(known.endedAt, out.nowMs)],
    [
      'lives',
      known.ttlMs === null
        ? 'for ever'
        : known.expiresAt === null
          ? `until ${known.ttlMs === 0 ? '' : `${sayDuration(known.ttlMs)} after `}the end of the run`
          : `until ${sayTime(known.expiresAt, out.nowMs)}`,
    ],
  ])

const showRunKey: Command = {
  name: 'run-key show',
  usage: 'KEY',
  says: 'show what a run key stands for; exit code 5: nothing',
  words: [1, 1],
  options,
  async run({ args, out, client }) {
    const known = await client.runKeys.get(refOf(args))
    out.answer(known, () => show(known, out))
    return exitCodes.ok.code
  },
}

const resetRunKey: Command = {
  name: 'run-key reset',
  usage: 'KEY',
  says: 'free a run key: the next call with it makes a run',
  words: [1, 1],
  options: {
    ...options,
    force: { says: 'also when its run is open: that is canceled, or asked to stop and waited for' },
  },
  async run({ args, out, client }) {
    const done = await client.runKeys.reset(refOf(args), args.flag('force') ? { force: true } : {})
    out.answer(done, () => out.line(`the key ${done.key} is free; run ${done.runId} is ${done.state}`))
    return exitCodes.ok.code
  },
}

export const runKeyCommands: readonly Command[] = [showRunKey, resetRunKey]
