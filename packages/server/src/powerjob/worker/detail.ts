// A run at a Java worker, for people (contract 3.8): asked of the worker while it has the run, else what it has told before.
import type { JavaRunDetail, JavaSubRun, JavaTask, JavaTaskFilters } from '@oncejob/protocol'
import { dateOf } from '../../kernel/clock.ts'
import { Outage } from '../../kernel/errors.ts'
import type { Db } from '../../storage/db.ts'
import { readJavaRun, readSubRuns, type SubRunRow } from '../../storage/java-detail.ts'
import type { JavaWorkers } from './api.ts'
import { numberOf, objectOf, objectsOf, textOf, wholeOf, type Members } from './wire.ts'

export type TaskFilter = (typeof JavaTaskFilters)[number]

export interface JavaDetails {
  /** Undefined: the app has no such run, or no Java worker has had it. @throws Outage of the database */
  of(appId: number, runId: number, filter: TaskFilter): Promise<JavaRunDetail | undefined>
}

const taskStates = new Map<number | null, string>([
  [1, 'waiting'],
  [2, 'sent'],
  [3, 'received'],
  [4, 'running'],
  [5, 'failed'],
  [6, 'succeeded'],
])
const subRunStates = new Map<number | null, string>([
  [2, 'running'],
  [3, 'running'],
  [4, 'failed'],
  [5, 'succeeded'],
])

// The worker appends this to a statement of its own: nothing that a caller wrote may ever be in it.
const conditions: Readonly<Record<TaskFilter, string>> = {
  running: 'status in (2,3,4)',
  waiting: 'status = 1',
  failed: 'status = 5',
  succeeded: 'status = 6',
  all: 'status > 0',
}
const queryFor = (filter: TaskFilter): string => `${conditions[filter]} order by last_modified_time desc`

const latestMs = 253_402_300_799_999
const timeOf = (ms: number | null): string | null =>
  ms === null || ms <= 0 ? null : dateOf(Math.min(ms, latestMs)).toISOString()

const countersOf = (told: Members | null): JavaRunDetail['tasks'] => {
  if (told === null) return null
  const more = (name: string, from: string): object => {
    const count = wholeOf(told, from)
    return count === null ? {} : { [name]: count }
  }
  return {
    total: wholeOf(told, 'totalTaskNum') ?? 0,
    succeeded: wholeOf(told, 'succeedTaskNum') ?? 0,
    failed: wholeOf(told, 'failedTaskNum') ?? 0,
    ...more('waiting', 'waitingDispatchTaskNum'),
    ...more('sent', 'workerUnreceivedTaskNum'),
    ...more('received', 'receivedTaskNum'),
    ...more('running', 'runningTaskNum'),
  }
}

const taskOf = (told: Members): JavaTask => ({
  id: textOf(told, 'taskId') ?? '',
  name: textOf(told, 'taskName') ?? '',
  state: taskStates.get(wholeOf(told, 'status')) ?? 'unknown',
  worker: textOf(told, 'processorAddress'),
  failures: wholeOf(told, 'failedCnt') ?? 0,
  content: textOf(told, 'taskContent'),
  result: textOf(told, 'result'),
  createdAt: timeOf(numberOf(told, 'createdTime')),
  changedAt: timeOf(numberOf(told, 'lastModifiedTime')),
})

const subRunOf = (told: Members): JavaSubRun => ({
  number: wholeOf(told, 'subInstanceId') ?? 0,
  state: subRunStates.get(wholeOf(told, 'status')) ?? 'unknown',
  startedAt: timeOf(numberOf(told, 'startTime')) ?? dateOf(0).toISOString(),
  endedAt: timeOf(numberOf(told, 'finishedTime')),
  result: textOf(told, 'result'),
})

const storedSubRun = ({ number, started_at, finished_at, state, result }: SubRunRow): JavaSubRun => ({
  number,
  state,
  startedAt: started_at.toISOString(),
  endedAt: finished_at?.toISOString() ?? null,
  result,
})

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

type Live = Pick<JavaRunDetail, 'startedAt' | 'tasks' | 'taskList' | 'subRuns'>

/** What a worker answered. @throws UnreadableMessage */
export const readDetail = (told: unknown): Live | undefined =>
  isMembers(told)
    ? {
        startedAt: timeOf(numberOf(told, 'actualTriggerTime')),
        tasks: countersOf(objectOf(told, 'taskDetail')),
        taskList: objectsOf(told, 'queriedTaskDetailInfoList').map(taskOf),
        subRuns: objectsOf(told, 'subInstanceDetails').map(subRunOf),
      }
    : undefined

export const createJavaDetails = (needs: { readonly db: Db; readonly workers: JavaWorkers }): JavaDetails => {
  const { db, workers } = needs
  /** What the worker says now, or why it says nothing. */
  const ask = async (runId: number, filter: TaskFilter): Promise<Live | string> => {
    try {
      return readDetail(await workers.detail(runId, queryFor(filter))) ?? 'its worker has not, or no longer, the run'
    } catch (error) {
      // translated: what is stored is still of use
      if (error instanceof Outage || (error instanceof Error && error.name === 'UnreadableMessage'))
        return error.message
      throw error
    }
  }
  return {
    of: async (appId, runId, filter) => {
      const run = await readJavaRun(db, appId, runId)
      if (run === undefined) return undefined
      const live = run.running ? await ask(runId, filter) : 'the run is not at a worker'
      const subRuns = (await readSubRuns(db, runId, 100)).map(storedSubRun)
      const { worker, startedMs, total, succeeded, failed } = run
      const reported = total === null ? null : { total, succeeded: succeeded ?? 0, failed: failed ?? 0 }
      if (typeof live !== 'string') {
        const fresh = new Map([...subRuns, ...live.subRuns].map((one) => [one.number, one]))
        const merged = [...fresh.values()].toSorted((one, other) => other.number - one.number)
        // of a run on a short interval a worker answers no counters: its reports have them
        return { runId, source: 'live', says: null, worker, ...live, tasks: live.tasks ?? reported, subRuns: merged }
      }
      const startedAt = timeOf(startedMs)
      return { runId, source: 'stored', says: live, worker, startedAt, tasks: reported, taskList: [], subRuns }
    },
  }
}
