// Single executions within the long run of a job on a short interval: asked of its worker when it has told that there are more.
import type { Clock, Millis } from '../../kernel/clock.ts'
import { Outage } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Db } from '../../storage/db.ts'
import { keepSubRuns, type SubRun } from '../../storage/java-attempts.ts'
import type { Courier } from './courier.ts'
import { numberOf, objectsOf, textOf, UnreadableMessage, wholeOf, type Members } from './wire.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly courier: Courier
}

const everyMs: Millis = 4_000
const mostRuns = 10_000
// it tells ten; nothing that it may say grows the database by more at once
const mostTold = 100
const mostResult = 8_192
const latestMs = 253_402_300_799_999

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const timeIn = (told: Members, name: string): number =>
  Math.min(latestMs, Math.max(0, Math.trunc(numberOf(told, name) ?? 0)))

const subRunIn = (told: Members): SubRun[] => {
  const number = wholeOf(told, 'subInstanceId')
  if (number === null || number < 1) return []
  const finishedMs = timeIn(told, 'finishedTime')
  const result = textOf(told, 'result')?.replaceAll('\0', '').slice(0, mostResult).toWellFormed() ?? null
  const status = wholeOf(told, 'status') ?? 0
  return [
    {
      number,
      startedMs: timeIn(told, 'startTime'),
      finishedMs: finishedMs > 0 ? finishedMs : null,
      status: status === 4 || status === 5 ? status : 2,
      result,
    },
  ]
}

/** Reads the executions in an InstanceDetail (contract 3.8): the last ten. @throws UnreadableMessage */
export const readSubRuns = (detail: unknown): SubRun[] =>
  isMembers(detail) ? objectsOf(detail, 'subInstanceDetails').slice(0, mostTold).flatMap(subRunIn) : []

/** Creates what keeps them. */
export const createSubRuns = ({ db, clock, log, courier }: Needs) => {
  const lookedMs = new Map<number, Millis>()
  const keep = async (run: { readonly runId: number; readonly lease: number }, detail: unknown): Promise<void> =>
    keepSubRuns(db, run.runId, run.lease, readSubRuns(detail))
  const ask = async (run: {
    readonly runId: number
    readonly lease: number
    readonly address: string
  }): Promise<void> => {
    try {
      const answer = await courier.ask(run.address, '/worker/queryInstanceStatus', { instanceId: run.runId })
      if (answer.success) await keep(run, answer.data)
    } catch (error) {
      // bounded: the next report brings the next look; what is missed then is missing
      const expected = error instanceof Outage || error instanceof UnreadableMessage
      log[expected ? 'debug' : 'warn']({ run: run.runId, err: error }, 'executions of a long run not read')
    }
  }
  return {
    keep,
    /** Looks at the executions of a long run, in the background, every few seconds at most. */
    look: (run: { readonly runId: number; readonly lease: number; readonly address: string }): void => {
      const nowMs = clock.monotonic()
      if (nowMs - (lookedMs.get(run.runId) ?? -Infinity) < everyMs) return
      if (lookedMs.size >= mostRuns) lookedMs.clear()
      lookedMs.set(run.runId, nowMs)
      void ask(run)
    },
  }
}
