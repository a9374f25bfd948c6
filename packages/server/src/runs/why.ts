// Why a waiting run has not started: from where it waits and who could execute it to reasons in words and data. Pure.
import type { UnknownReason, WaitReason } from '@oncejob/protocol'
import { eligibleSessions, obstacle, type Obstacle, type RouteFacts, type SessionFacts } from './eligibility.ts'

/** A session that is renewed in time; a draining one takes nothing new. */
export interface Candidate extends SessionFacts {
  readonly draining: boolean
}

/** Where a run waits. */
export type Waiting =
  /** For its time, or for that of its next attempt; `isDue`: it is over, and the run is about to be moved on. */
  | { readonly at: 'later'; readonly dueAt: string; readonly isDue: boolean; readonly attempts: number }
  /** For one of the job's slots, held by these runs (the first hundred of them). */
  | { readonly at: 'blocked'; readonly limit: number; readonly hasRoom: boolean; readonly heldBy: readonly number[] }
  /** For the end of another run of its run key. */
  | { readonly at: 'after'; readonly runId: number }
  /** For someone to say what became of its last attempt. */
  | {
      readonly at: 'undecided'
      readonly since: string
      readonly cause: UnknownReason
      readonly effect: string | null
    }
  /** For a worker. `ahead`: runs of the same route that come first, counted up to `aheadMax`. */
  | {
      readonly at: 'ready'
      readonly route: RouteFacts
      readonly candidates: readonly Candidate[]
      readonly ahead: number
    }

/** How far the runs that are ahead are counted. */
export const aheadMax = 10_000

const quoted = (values: readonly string[]): string => values.map((value) => `"${value}"`).join(', ')

const resourceText = {
  cpuCores: { unit: 'free CPU cores', least: (route: RouteFacts) => route.minFreeCpuCores },
  memoryGb: { unit: 'GB of free memory', least: (route: RouteFacts) => route.minFreeMemoryGb },
  diskGb: { unit: 'GB of free disk', least: (route: RouteFacts) => route.minFreeDiskGb },
} as const

// in the order in which eligibility checks them: who gets furthest shows what is really missing
const steps = ['processor', 'label', 'designated', 'resource'] as const satisfies Obstacle['kind'][]

const missing = (route: RouteFacts, what: Obstacle): WaitReason => {
  switch (what.kind) {
    case 'processor':
      return {
        code: 'NO_WORKER_WITH_PROCESSOR',
        says: `No live worker has the processor "${route.processor}".`,
        processor: route.processor,
      }
    case 'label':
      return {
        code: 'NO_WORKER_WITH_LABEL',
        says: `No live worker with the processor "${route.processor}" has the label ${what.label} and the other labels that are asked for.`,
        label: what.label,
      }
    case 'designated':
      return {
        code: 'NO_DESIGNATED_WORKER',
        says: `Only ${quoted(route.designated.slice(0, 10))}${route.designated.length > 10 ? ' and others' : ''} may execute it, and none of them is live and fits.`,
      }
    case 'resource': {
      const { unit, least } = resourceText[what.resource]
      return {
        code: 'NO_WORKER_WITH_RESOURCES',
        says: `No worker that fits reports ${least(route)} ${unit}.`,
        resource: what.resource,
      }
    }
  }
}

// one reason per missing label or resource, of the sessions that came furthest
const missingEverywhere = (route: RouteFacts, sessions: readonly SessionFacts[]): WaitReason[] => {
  const obstacles = sessions.flatMap((session) => obstacle(route, session) ?? [])
  const furthest = steps.findLast((step) => obstacles.some(({ kind }) => kind === step))
  const reasons = obstacles.filter(({ kind }) => kind === furthest).map((what) => missing(route, what))
  return [...new Map(reasons.map((reason) => [reason.says, reason])).values()]
}

const noWorker = (candidates: readonly Candidate[]): WaitReason => ({
  code: 'NO_WORKER',
  says:
    candidates.length === 0
      ? 'The app has no live worker.'
      : 'Every live worker of the app is draining: it finishes what it has and takes nothing new.',
})

const aheadText = (ahead: number): string => {
  if (ahead === 0) return 'this run is the next one'
  return ahead >= aheadMax
    ? `${aheadMax} runs or more are before this one`
    : `${ahead} ${ahead === 1 ? 'run is' : 'runs are'} before this one`
}

const whyReady = ({ route, candidates, ahead }: Extract<Waiting, { at: 'ready' }>): WaitReason[] => {
  const taking = candidates.filter(({ draining }) => !draining)
  if (taking.length === 0) return [noWorker(candidates)]
  const able = eligibleSessions(route, taking)
  if (able.length === 0) return missingEverywhere(route, taking)
  if (able.every(({ running, slots }) => running >= slots)) {
    return [{ code: 'WORKERS_BUSY', says: `Every worker that fits is busy; ${aheadText(ahead)}.`, ahead }]
  }
  return [{ code: 'ABOUT_TO_START', says: `A worker that fits has a free slot; ${aheadText(ahead)}.`, ahead }]
}

const causeText: Record<Exclude<UnknownReason, 'effect'>, string> = {
  lost: 'Its worker was lost in the middle of the attempt, and its job is executed at most once.',
  'timed-out': 'Its attempt timed out without an end, and its job is executed at most once.',
}

const whyUndecided = ({ since, cause, effect }: Extract<Waiting, { at: 'undecided' }>): WaitReason => {
  if (cause !== 'effect') {
    const says = `${causeText[cause]} Find out what it has done, and resolve the run as succeeded, failed or retry.`
    return { code: 'OUTCOME_UNKNOWN', says, since, cause }
  }
  const which = effect === null ? 'an effect' : `the effect "${effect}"`
  return {
    code: 'OUTCOME_UNKNOWN',
    says: `An attempt began ${which}, and nobody knows how that ended. Find out whether it happened, resolve the effect as done or not done and the run as retry, or end the run.`,
    since,
    cause,
    ...(effect === null ? {} : { effect }),
  }
}

/** The reasons why a run that waits there has not started; never empty. */
export const whyWaiting = (waiting: Waiting): WaitReason[] => {
  switch (waiting.at) {
    case 'later': {
      const { dueAt, isDue, attempts } = waiting
      if (isDue) return [{ code: 'ABOUT_TO_START', says: `It became due at ${dueAt}.` }]
      return attempts > 0
        ? [{ code: 'RETRY_LATER', says: `Attempt ${attempts} did not succeed; the next one is at ${dueAt}.`, dueAt }]
        : [{ code: 'NOT_DUE', says: `It is not due before ${dueAt}.`, dueAt }]
    }
    case 'blocked': {
      const { limit, heldBy } = waiting
      if (limit === 0 || heldBy.length < limit)
        return [{ code: 'ABOUT_TO_START', says: 'One of the slots of its job is free.' }]
      const runs = limit === 1 ? '1 run' : `${limit} runs`
      return [{ code: 'LIMIT_REACHED', says: `Its job allows ${runs} at once.`, limit, heldBy: [...heldBy] }]
    }
    case 'undecided':
      return [whyUndecided(waiting)]
    case 'after':
      return [
        {
          code: 'AFTER_RUN',
          says: `It starts when run ${waiting.runId} of the same run key has ended.`,
          heldBy: [waiting.runId],
        },
      ]
    case 'ready':
      return whyReady(waiting)
  }
}
