// What people and calls decide where nobody knows: runs of unknown outcome, and effects that were begun and not ended.
import {
  Refusal,
  type EffectChanged,
  type EffectResolution,
  type RunChanged,
  type RunResolution,
} from '@oncejob/protocol'
import { jsonText, jsonValue } from '../kernel/json.ts'
import type { Log } from '../kernel/log.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db, Queries } from '../storage/db.ts'
import { decideDone, effectOf, holdStill, withdrawIntent } from '../storage/effects.ts'
import { endUndecided, reopenUndecided, standingOf, type DecidedEnd, type StandingRow } from '../storage/undecided.ts'
import { auditOf, noSuchRun, stateOf, type Asked } from './asked.ts'
import type { Following } from './following.ts'
import type { Hub } from './hub.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly log: Log
  readonly following: Following
  /** A result, or the outcome of an effect, has at most so many bytes. */
  readonly maxResultBytes: number
}

const messageIn = (error: string | null): unknown => {
  const stored = jsonValue(error)
  return typeof stored === 'object' && stored !== null ? Reflect.get(stored, 'message') : undefined
}

const endOf = (asked: Asked, decision: RunResolution): DecidedEnd =>
  decision.as === 'succeeded'
    ? { state: 'succeeded', result: jsonText(decision.result), error: null, actor: asked.actor }
    : {
        state: 'failed',
        result: null,
        error: JSON.stringify({
          code: 'DECIDED_FAILED',
          message: decision.message ?? 'Its outcome was unknown, and it was decided that it has failed.',
        }),
        actor: asked.actor,
      }

/** The run stands as the decision wants it, because it was decided so before. */
const isDecidedSo = (row: StandingRow, decision: RunResolution): boolean => {
  switch (decision.as) {
    case 'succeeded':
      return row.decided && row.state === 'succeeded' && row.result === jsonText(decision.result)
    case 'failed':
      return (
        row.decided &&
        row.state === 'failed' &&
        (decision.message === undefined || decision.message === messageIn(row.error))
      )
    case 'retry':
      // tried before, and about to be tried again
      return row.state === 'open' && !row.unknown && row.tried
  }
}

/** Ends a run of unknown outcome, by a decision or by a stop. False: its outcome is not unknown. */
export const endUnknown = async (
  { db, log, following }: Pick<Needs, 'db' | 'log' | 'following'>,
  asked: Asked,
  { end, action, detail }: { readonly end: DecidedEnd; readonly action: string; readonly detail: unknown },
): Promise<boolean> => {
  const row = await db.transaction(async (tx) => {
    const done = await endUndecided(tx, asked.appId, asked.runId, end)
    if (done !== undefined) await appendAudit(tx, auditOf(asked, action, detail))
    return done
  })
  if (row === undefined) return false
  log.info({ run: asked.runId, state: end.state, actor: asked.actor }, 'unknown run decided')
  // its job: a fixed delay may wait for this end
  following.ended([{ runId: asked.runId, state: end.state }], [row.job_id])
  return true
}

/** Lets a run of unknown outcome be tried again. False: its outcome is not unknown. */
const retryUnknown = async (
  { db, hub, log, following }: Needs,
  asked: Asked,
  decision: RunResolution,
): Promise<boolean> => {
  const again = await db.transaction(async (tx) => {
    const opened = await reopenUndecided(tx, asked.appId, asked.runId)
    if (opened !== undefined) await appendAudit(tx, auditOf(asked, 'run.resolve', decision))
    return opened
  })
  if (again === undefined) return false
  log.info({ run: asked.runId, state: 'waiting', actor: asked.actor }, 'unknown run decided')
  if (again.limited) await following.handOn([again.job_id])
  hub.tell({ ready: [asked.appId] })
  return true
}

// a run moves from one place to the next while we look: a few rounds are plenty
const maxRounds = 20

/** Makes sure that no attempt has the run, until the transaction ends. */
const holdWithoutAttempt = async (tx: Queries, appId: number, runId: number): Promise<void> => {
  for (let round = 0; round < maxRounds; round += 1) {
    const where = await holdStill(tx, appId, runId)
    if (where === 'still') return
    if (where === 'missing') throw noSuchRun(runId)
    if (where === 'running') break
  }
  throw new Refusal(
    'RUN_RUNNING',
    `Run ${runId} is running, and its attempt may be at the effect: wait for its end, or stop the run first.`,
    { state: 'running' },
  )
}

const changeEffect = async (
  tx: Queries,
  asked: Asked & { readonly name: string },
  decision: EffectResolution,
): Promise<boolean> => {
  const { appId, runId, name, actor } = asked
  await holdWithoutAttempt(tx, appId, runId)
  const effect = await effectOf(tx, runId, name)
  if (effect === undefined) throw new Refusal('EFFECT_NOT_FOUND', `Run ${runId} has begun no effect "${name}".`)
  const outcome = decision.outcome === undefined ? null : JSON.stringify(decision.outcome)
  if (effect.state === 'done') {
    if (decision.done && effect.outcome === outcome) return false
    throw new Refusal('EFFECT_DONE', `The effect "${name}" of run ${runId} is recorded as done, with its outcome.`)
  }
  if (decision.done) await decideDone(tx, runId, name, { outcome, actor })
  else await withdrawIntent(tx, runId, name)
  await appendAudit(tx, auditOf(asked, 'effect.resolve', { name, done: decision.done }))
  return true
}

/** Creates the deciding part of the core. */
export const createDeciding = (needs: Needs) => {
  const { db, hub, log, maxResultBytes } = needs
  return {
    resolve: async (appId: number, runId: number, decision: RunResolution, actor: string): Promise<RunChanged> => {
      const asked = { appId, runId, actor }
      const bytes = Buffer.byteLength(jsonText(decision.result) ?? '')
      if (bytes > maxResultBytes)
        throw new Refusal(
          'BODY_TOO_LARGE',
          `The result has ${bytes} bytes as JSON, and at most ${maxResultBytes} are kept.`,
        )
      const changed =
        decision.as === 'retry'
          ? await retryUnknown(needs, asked, decision)
          : await endUnknown(needs, asked, {
              end: endOf(asked, decision),
              action: 'run.resolve',
              // a result may be large, and is kept with the run
              detail: { as: decision.as },
            })
      if (changed) return { id: runId, state: decision.as === 'retry' ? 'waiting' : decision.as, changed }
      const row = await standingOf(db, appId, runId)
      if (row === undefined) throw noSuchRun(runId)
      const state = stateOf(row)
      if (isDecidedSo(row, decision)) return { id: runId, state, changed: false }
      throw new Refusal('RUN_NOT_UNKNOWN', `Run ${runId} needs no decision: it is ${state}.`, { state })
    },
    resolveEffect: async (
      asked: Asked & { readonly name: string },
      decision: EffectResolution,
    ): Promise<EffectChanged> => {
      const { appId, runId, name } = asked
      const bytes = Buffer.byteLength(jsonText(decision.outcome) ?? '')
      if (bytes > maxResultBytes)
        throw new Refusal(
          'EFFECT_OUTCOME_TOO_LARGE',
          `The outcome of "${name}" has ${bytes} bytes as JSON, and at most ${maxResultBytes} are kept.`,
        )
      const changed = await db.transaction((tx) => changeEffect(tx, asked, decision))
      if (changed) log.info({ run: runId, effect: name, done: decision.done, actor: asked.actor }, 'effect decided')
      // while it was held, a claim has passed the run over
      hub.tell({ ready: [appId] })
      return { name, done: decision.done, changed }
    },
  }
}
