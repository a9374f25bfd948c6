// Puts an end to a run that gives way to another one, wherever it is: canceled while it waits, asked to stop while it runs.
import { Refusal } from '@oncejob/protocol'
import type { Queries } from '../storage/db.ts'
import { endWaiting, requestStop, runState } from '../storage/steer.ts'
import type { Hub } from './hub.ts'

/** What became of it: `open` means that it has not ended yet. */
export interface Aside {
  readonly open: boolean
  /** The session that must hear of the stop. */
  readonly session: number | null
  /** The job of a run that was canceled: its slot is free. */
  readonly freedJob: number | null
}

// a run moves between waiting and running while we look: each round sees it somewhere, a few are plenty
const maxRounds = 20
const over: Aside = { open: false, session: null, freedJob: null }

/** Ends a run with this error (JSON text), or asks it to stop. A run of unknown outcome stays: someone has to decide on it. */
export const putAside = async (tx: Queries, appId: number, runId: number, error: string): Promise<Aside> => {
  for (let round = 0; round < maxRounds; round += 1) {
    const [gone] = await endWaiting(tx, [runId], 'canceled', error)
    if (gone !== undefined) return { ...over, freedJob: gone.job_id }
    const [asked] = await requestStop(tx, [runId])
    if (asked !== undefined) return { ...over, open: true, session: asked.session_id }
    const now = await runState(tx, appId, runId)
    if (now?.state !== 'open') return over
    if (now.unknown) return { ...over, open: true }
  }
  throw new Refusal('RUN_RUNNING', `Run ${runId} keeps moving between waiting and running; try again.`)
}

/** Tells, after the commit, of runs that were put aside. */
export const tellAside = (hub: Hub, runs: ReadonlyMap<number, Aside>): void => {
  const ended = [...runs].filter(([, aside]) => aside.freedJob !== null).map(([runId]) => runId)
  const sessions = [...runs.values()].flatMap(({ session }) => session ?? [])
  if (ended.length + sessions.length > 0) hub.tell({ sessions, ended })
}
