// Cancel, stop and retry by hand: each is one guarded change, whatever else happens to the run at the same moment.
import { Refusal, type RunChanged, type RunState } from '@oncejob/protocol'
import type { Log } from '../kernel/log.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db } from '../storage/db.ts'
import { endWaiting, reopen, requestStop, runState } from '../storage/steer.ts'
import { auditOf, noSuchRun, stateOf, type Asked } from './asked.ts'
import { endUnknown } from './deciding.ts'
import type { Following } from './following.ts'
import { createKeySteering, holdKeyOf, returnKey } from './key-steering.ts'
import type { Hub } from './hub.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly log: Log
  readonly following: Following
}

const canceledError = JSON.stringify({ code: 'CANCELED', message: 'The run was canceled before it started.' })
const stoppedBeforeError = JSON.stringify({ code: 'STOPPED', message: 'The run was stopped before it started.' })
const stoppedError = JSON.stringify({ code: 'STOPPED', message: 'The run was stopped while its outcome was unknown.' })
const ended = (runId: number, state: RunState): Refusal =>
  new Refusal('RUN_ENDED', `Run ${runId} has ended: it is ${state}.`, { state })

// a run moves between waiting and running while we look: each round sees it somewhere, a few are plenty
const maxRounds = 20

/** @param error who was asked to do what, for the run's own record: a stop that comes before the start cancels, too */
const endIfWaiting = async ({ db, log, following }: Needs, asked: Asked, error: string): Promise<boolean> => {
  const rows = await db.transaction(async (tx) => {
    const rows = await endWaiting(tx, [asked.runId], 'canceled', error)
    if (rows.length > 0) await appendAudit(tx, auditOf(asked, 'run.cancel', null))
    return rows
  })
  // all jobs: a follow-up of a job without a limit finds nothing to do
  following.ended(
    rows.map((row) => ({ runId: row.run_id, state: 'canceled' })),
    rows.map((row) => row.job_id),
  )
  if (rows.length > 0) log.info({ run: asked.runId }, 'run canceled')
  return rows.length > 0
}

/** `canceled` would say that it never began, so it is stopped. */
const stopIfUnknown = (needs: Needs, asked: Asked, action: 'run.cancel' | 'run.stop'): Promise<boolean> =>
  endUnknown(needs, asked, {
    end: { state: 'stopped', result: null, error: stoppedError, actor: asked.actor },
    action,
    detail: null,
  })

/** Creates the steering part of the core. */
export const createSteering = (needs: Needs) => {
  const { db, hub, log, following } = needs

  const find = async (appId: number, runId: number): Promise<RunState> => {
    const row = await runState(db, appId, runId)
    if (row === undefined) throw noSuchRun(runId)
    return stateOf(row)
  }
  const cancel = async (appId: number, runId: number, actor: string): Promise<RunChanged> => {
    const asked = { appId, runId, actor }
    for (let round = 0; round < maxRounds; round += 1) {
      const state = await find(appId, runId)
      if (state === 'canceled') return { id: runId, state, changed: false }
      if (state === 'running') throw new Refusal('RUN_RUNNING', `Run ${runId} is running; stop it instead.`, { state })
      if (state === 'unknown') {
        if (await stopIfUnknown(needs, asked, 'run.cancel')) return { id: runId, state: 'stopped', changed: true }
        continue
      }
      if (state !== 'waiting') throw ended(runId, state)
      if (await endIfWaiting(needs, asked, canceledError)) return { id: runId, state: 'canceled', changed: true }
    }
    throw new Refusal('RUN_RUNNING', `Run ${runId} keeps moving between waiting and running; try again or stop it.`)
  }
  const stop = async (appId: number, runId: number, actor: string): Promise<RunChanged> => {
    const asked = { appId, runId, actor }
    for (let round = 0; round < maxRounds; round += 1) {
      const state = await find(appId, runId)
      if (state === 'stopped' || state === 'canceled') return { id: runId, state, changed: false }
      if (state === 'waiting' && (await endIfWaiting(needs, asked, stoppedBeforeError)))
        return { id: runId, state: 'canceled', changed: true }
      if (state === 'unknown' && (await stopIfUnknown(needs, asked, 'run.stop')))
        return { id: runId, state: 'stopped', changed: true }
      if (state === 'succeeded' || state === 'failed') throw ended(runId, state)
      const [stopping] = await db.transaction(async (tx) => {
        const rows = await requestStop(tx, [runId])
        if (rows.some((row) => row.fresh)) await appendAudit(tx, auditOf(asked, 'run.stop', null))
        return rows
      })
      if (stopping !== undefined) {
        if (stopping.fresh) log.info({ run: runId, session: stopping.session_id }, 'stop requested')
        hub.tell({ sessions: [stopping.session_id] })
        return { id: runId, state: 'running', changed: stopping.fresh }
      }
    }
    throw new Refusal('RUN_RUNNING', `Run ${runId} keeps moving between waiting and running; try again.`)
  }
  const retry = async (appId: number, runId: number, actor: string): Promise<RunChanged> => {
    const again = await db.transaction(async (tx) => {
      const key = await holdKeyOf(tx, appId, runId)
      const opened = await reopen(tx, appId, runId)
      if (key !== undefined) await returnKey(tx, key, opened !== undefined)
      if (opened !== undefined) await appendAudit(tx, auditOf({ appId, runId, actor }, 'run.retry', null))
      return opened
    })
    if (again === undefined) {
      const state = await find(appId, runId)
      const advice = state === 'unknown' ? 'its outcome is unknown; resolve it as retry' : `it is ${state}`
      throw new Refusal('RUN_NOT_ENDED', `Run ${runId} has not ended: ${advice}.`, { state })
    }
    log.info({ run: runId }, 'run reopened')
    if (again.limited) await following.handOn([again.job_id])
    hub.tell({ ready: [appId] })
    return { id: runId, state: 'waiting', changed: true }
  }
  return { cancel, stop, retry, ...createKeySteering(needs) }
}
