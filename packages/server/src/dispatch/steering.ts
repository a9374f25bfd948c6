// Cancel, stop and retry by hand: each is one guarded change, whatever else happens to the run at the same moment.
import { Refusal, type RunChanged, type RunState } from '@oncejob/protocol'
import type { Log } from '../kernel/log.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db } from '../storage/db.ts'
import { endWaiting, reopen, requestStop, runState, type RunStateRow } from '../storage/steer.ts'
import type { Following } from './following.ts'
import type { Hub } from './hub.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly log: Log
  readonly following: Following
}

/** Who asks for what. */
interface Ask {
  readonly appId: number
  readonly runId: number
  readonly actor: string
}

const stateOf = (row: RunStateRow): RunState => {
  if (row.state !== 'open') return row.state
  return row.running ? 'running' : 'waiting'
}
const canceledError = JSON.stringify({ code: 'CANCELED', message: 'The run was canceled before it started.' })
const ended = (runId: number, state: RunState): Refusal =>
  new Refusal('RUN_ENDED', `Run ${runId} has ended: it is ${state}.`, { state })

// a run moves between waiting and running while we look: each round sees it somewhere, a few are plenty
const maxRounds = 20

/** Creates the steering part of the core. */
export const createSteering = (needs: Needs) => {
  const { db, hub, log, following } = needs

  const find = async (appId: number, runId: number): Promise<RunState> => {
    const row = await runState(db, appId, runId)
    if (row === undefined) throw new Refusal('RUN_NOT_FOUND', `This app has no run ${runId}.`)
    return stateOf(row)
  }
  const endIfWaiting = async ({ appId, runId, actor }: Ask): Promise<boolean> => {
    const rows = await db.transaction(async (tx) => {
      const rows = await endWaiting(tx, [runId], 'canceled', canceledError)
      if (rows.length > 0)
        await appendAudit(tx, { actor, appId, action: 'run.cancel', target: `run/${runId}`, detail: null })
      return rows
    })
    // all jobs: a follow-up of a job without a limit finds nothing to do
    following.ended(
      rows.map((row) => ({ runId: row.run_id, state: 'canceled' })),
      rows.map((row) => row.job_id),
    )
    if (rows.length > 0) log.info({ run: runId }, 'run canceled')
    return rows.length > 0
  }
  const cancel = async (appId: number, runId: number, actor: string): Promise<RunChanged> => {
    for (let round = 0; round < maxRounds; round += 1) {
      const state = await find(appId, runId)
      if (state === 'canceled') return { id: runId, state, changed: false }
      if (state === 'running') throw new Refusal('RUN_RUNNING', `Run ${runId} is running; stop it instead.`, { state })
      if (state !== 'waiting') throw ended(runId, state)
      if (await endIfWaiting({ appId, runId, actor })) return { id: runId, state: 'canceled', changed: true }
    }
    throw new Refusal('RUN_RUNNING', `Run ${runId} keeps moving between waiting and running; try again or stop it.`)
  }
  const stop = async (appId: number, runId: number, actor: string): Promise<RunChanged> => {
    for (let round = 0; round < maxRounds; round += 1) {
      const state = await find(appId, runId)
      if (state === 'stopped' || state === 'canceled') return { id: runId, state, changed: false }
      if (state === 'waiting' && (await endIfWaiting({ appId, runId, actor })))
        return { id: runId, state: 'canceled', changed: true }
      if (state === 'succeeded' || state === 'failed') throw ended(runId, state)
      const [asked] = await db.transaction(async (tx) => {
        const rows = await requestStop(tx, [runId])
        if (rows.length > 0)
          await appendAudit(tx, { actor, appId, action: 'run.stop', target: `run/${runId}`, detail: null })
        return rows
      })
      if (asked !== undefined) {
        log.info({ run: runId, session: asked.session_id }, 'stop requested')
        hub.tell({ sessions: [asked.session_id] })
        return { id: runId, state: 'running', changed: true }
      }
    }
    throw new Refusal('RUN_RUNNING', `Run ${runId} keeps moving between waiting and running; try again.`)
  }
  const retry = async (appId: number, runId: number, actor: string): Promise<RunChanged> => {
    const again = await db.transaction(async (tx) => {
      const opened = await reopen(tx, appId, runId)
      if (opened !== undefined)
        await appendAudit(tx, { actor, appId, action: 'run.retry', target: `run/${runId}`, detail: null })
      return opened
    })
    if (again === undefined) {
      const state = await find(appId, runId)
      throw new Refusal('RUN_NOT_ENDED', `Run ${runId} has not ended: it is ${state}.`, { state })
    }
    log.info({ run: runId }, 'run reopened')
    if (again.limited) await following.handOn([again.job_id])
    hub.tell({ ready: [appId] })
    return { id: runId, state: 'waiting', changed: true }
  }
  return { cancel, stop, retry }
}
