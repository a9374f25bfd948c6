// Looks at run keys, frees them, and gives a key back to a run that is retried by hand (I8).
import { Refusal, type RunKeyReset, type RunKeyState, type RunState } from '@oncejob/protocol'
import type { Log } from '../kernel/log.ts'
import { inputHashOf, standingOf, type KeyStanding, type Predecessor } from '../runs/run-key.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db, Queries } from '../storage/db.ts'
import {
  deleteKey,
  dropUnpointed,
  freeKey,
  keyOfEnded,
  lockKeys,
  pointKeys,
  readKeys,
  type KeyPoint,
  type KeyReading,
} from '../storage/run-keys.ts'
import { putAside, tellAside, type Aside } from './aside.ts'
import type { RunKeyRef, RunsApi } from './api.ts'
import type { Following } from './following.ts'
import type { Hub } from './hub.ts'
import { holdKeys, keyConflict } from './run-keys.ts'

interface Needs {
  readonly db: Db
  readonly hub: Hub
  readonly log: Log
  readonly following: Following
}

const resetError = JSON.stringify({ code: 'CANCELED', message: 'The run was canceled when its run key was reset.' })

const noSuchKey = (key: string): Refusal =>
  new Refusal(
    'RUN_KEY_NOT_FOUND',
    `The key "${key}" stands for no run: it was never used here, its time is over, or it was reset.`,
  )

type Taken = Exclude<KeyStanding, { kind: 'free' }>

/** What the key stands for. @throws Refusal RUN_KEY_NOT_FOUND */
const takenBy = (key: string, reading: KeyReading | undefined): { reading: KeyReading; standing: Taken } => {
  const standing = standingOf(reading)
  if (reading === undefined || standing.kind === 'free') throw noSuchKey(key)
  return { reading, standing }
}

const shown = ({ id, ttlMs, endedAt, expiresAt }: KeyReading, standing: Taken): RunKeyState => {
  const run = standing.kind === 'open' ? standing.run : standing
  const closed = standing.kind === 'closed'
  return {
    key: id.key,
    scope: id.jobId === 0 ? 'app' : 'job',
    runId: run.runId,
    state: run.state,
    inputHash: run.inputHash,
    after: standing.kind === 'open' ? (standing.behind?.runId ?? null) : null,
    endedAt: closed ? (endedAt?.toISOString() ?? null) : null,
    expiresAt: closed ? (expiresAt?.toISOString() ?? null) : null,
    ttlMs,
  }
}

/**
 * Takes the lock of the key of a run that is about to be retried. Returns where the key points once the run is open again;
 * undefined when it has none or has not ended.
 * @throws Refusal RUN_KEY_CONFLICT when the key has another open run
 */
export const holdKeyOf = async (tx: Queries, appId: number, runId: number): Promise<KeyPoint | undefined> => {
  const own = await keyOfEnded(tx, appId, runId)
  if (own === undefined) return undefined
  const { id, params, runJobId } = own
  await holdKeys(tx, [id])
  const [reading] = await readKeys(tx, [id])
  const isNew = reading === undefined || reading.runId === 0
  const standing = standingOf(isNew ? undefined : reading)
  const other = standing.kind === 'open' ? standing.run : standing.kind === 'free' ? standing.behind : null
  // the run itself was seen ended, and opens only under this lock: whoever is open is another one
  if (other !== null && other.runId !== runId) throw keyConflict(id.key, other)
  const inputHash = inputHashOf(params, id.jobId === 0 ? runJobId : null)
  // a key that was forgotten meanwhile lives until the end of the run
  return { id, runId, inputHash, before: null, ttlMs: isNew ? 0 : reading.ttlMs }
}

/** Points the key at the run that was reopened, or leaves no trace when it was not. */
export const returnKey = (tx: Queries, point: KeyPoint, reopened: boolean): Promise<void> =>
  reopened ? pointKeys(tx, [point]) : dropUnpointed(tx, [point.id])

/** Creates the calls that look at run keys and free them. */
export const createKeySteering = ({ db, hub, log, following }: Needs): Pick<RunsApi, 'runKey' | 'resetRunKey'> => {
  const runKey = async (ref: RunKeyRef): Promise<RunKeyState> => {
    const [row] = await readKeys(db, [ref])
    const { reading, standing } = takenBy(ref.key, row)
    return shown(reading, standing)
  }
  /** Ends the open runs of a key; returns the one that is still stopping. */
  const endAll = async (
    tx: Queries,
    appId: number,
    { run, behind }: Extract<Taken, { kind: 'open' }>,
  ): Promise<{ asides: Map<number, Aside>; stopping: Predecessor | undefined }> => {
    const runs = behind === null ? [run] : [run, behind]
    const asides = new Map<number, Aside>()
    for (const { runId } of runs) asides.set(runId, await putAside(tx, appId, runId, resetError))
    return { asides, stopping: runs.find(({ runId }) => asides.get(runId)?.open === true) }
  }
  const resetRunKey: RunsApi['resetRunKey'] = async (ref, { force, actor }) => {
    const { appId, jobId, key } = ref
    const { answer, asides } = await db.transaction(async (tx) => {
      await lockKeys(tx, [ref])
      const [row] = await readKeys(tx, [ref])
      const { standing } = takenBy(key, row)
      const run = standing.kind === 'open' ? standing.run : standing
      let state: RunState = run.state
      let asides = new Map<number, Aside>()
      if (standing.kind === 'open') {
        if (!force) throw keyConflict(key, standing.run)
        const done = await endAll(tx, appId, standing)
        asides = done.asides
        if (asides.get(run.runId)?.open === false) state = 'canceled'
        if (done.stopping === undefined) await deleteKey(tx, ref)
        else await freeKey(tx, ref, done.stopping)
      } else await deleteKey(tx, ref)
      const target = jobId === 0 ? 'run-key' : `job/${jobId}/run-key`
      await appendAudit(tx, { actor, appId, action: 'run-key.reset', target, detail: { key, runId: run.runId, force } })
      return { answer: { key, runId: run.runId, state } satisfies RunKeyReset, asides }
    })
    log.info({ key, run: answer.runId, force }, 'run key reset')
    tellAside(hub, asides)
    following.ended(
      [...asides].flatMap(([runId, { freedJob }]) =>
        freedJob === null ? [] : [{ runId, state: 'canceled' as const }],
      ),
      [...asides.values()].flatMap(({ freedJob }) => freedJob ?? []),
    )
    return answer
  }
  return { runKey, resetRunKey }
}
