// Heartbeats become sessions (contract 3.1): the one of an address is renewed by whichever server hears it, and its agent lives there.
import { batcher } from '../../kernel/batch.ts'
import { briefly } from '../../kernel/briefly.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import { Refusal } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Directory, KnownSession } from '../../dispatch/directory.ts'
import type { Db } from '../../storage/db.ts'
import { hearWorkers, openJavaSession, type HeardRow, type JavaBeat } from '../../storage/java-workers.ts'
import { findWireAppById } from '../../storage/wire-apps.ts'
import type { Agents } from './agents.ts'
import type { JavaWorkerEvents } from './api.ts'
import type { Courier } from './courier.ts'
import type { Compare } from './forgotten.ts'
import { readHeartbeat, type Heartbeat } from './reading.ts'
import type { Members } from './wire.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly directory: Directory
  readonly courier: Courier
  readonly agents: Agents
  /** Compares what its worker says that it has with what the agent knows. */
  readonly compare: Compare
  readonly serverId: () => number
  /** A session not renewed for so long has expired; its end comes a grace later. */
  readonly expireMs: Millis
  readonly events: readonly JavaWorkerEvents[]
}

interface Heard extends Heartbeat {
  /** By the clock that only grows. */
  readonly heardMs: Millis
}

const keyOf = ({ appId, address }: JavaBeat): string => `${appId} ${address}`

const overtakenMs: Millis = 5_000
const mostWorkers = 10_000

/** Tells of a heartbeat whether its worker has sent another one after it that was heard just before: a worker that was held up sends several at once. */
const overtaking = () => {
  const latest = new Map<string, { readonly timeMs: Millis; readonly heardMs: Millis }>()
  return (beat: Heard): boolean => {
    const { timeMs, heardMs } = beat
    if (timeMs === null) return false
    const key = keyOf(beat)
    const last = latest.get(key)
    // for a moment only: a clock that was set back must not silence its worker
    if (last !== undefined && timeMs < last.timeMs && heardMs - last.heardMs < overtakenMs) return true
    if (latest.size >= mostWorkers) latest.clear()
    latest.set(key, { timeMs, heardMs })
    return false
  }
}

const sessionOf = (id: number, beat: JavaBeat): KnownSession => ({
  id,
  appId: beat.appId,
  name: beat.address,
  address: beat.address,
  processors: ['*'],
  labels: beat.facts.tag === null ? {} : { tag: beat.facts.tag },
  metrics: beat.metrics,
  slots: beat.slots,
  running: 0,
  draining: beat.facts.overload,
  java: true,
})

/** Creates what takes heartbeats. @returns resolves when the session is renewed, or opened */
export const createHearing = (needs: Needs): ((message: Members) => Promise<void>) => {
  const { db, clock, log, directory, courier, agents, compare, serverId, expireMs, events } = needs
  const appOf = briefly(clock, async (appId: number) => {
    const app = await findWireAppById(db, appId)
    if (app === undefined) throw new Refusal('WORKER_NOT_FOUND', `there is no app ${appId}`)
    return app
  })
  const hearing = () => ({ serverId: serverId(), expireMs })
  const hearTogether = batcher<JavaBeat, HeardRow | undefined>({
    maxSize: 500,
    run: async (beats) => {
      // the newest of a worker stands for all
      const last = new Map(beats.map((beat) => [keyOf(beat), beat]))
      const distinct = [...last.values()]
      const rows = await hearWorkers(db, distinct, hearing())
      const byOrd = new Map(rows.map((row) => [row.ord, row]))
      const byKey = new Map(distinct.map((beat, ord) => [keyOf(beat), byOrd.get(ord)]))
      return beats.map((beat) => byKey.get(keyOf(beat)))
    },
  })
  const serve = async (id: number, beat: Heard, how: 'renewed' | 'opened' | 'came'): Promise<void> => {
    const session = sessionOf(id, beat)
    directory.put({ ...session, running: directory.session(id)?.running ?? 0 })
    const agent = agents.hear(session, how === 'opened')
    compare(agent, beat)
    if (how === 'renewed') return
    log.info(
      { session: id, app: beat.appId, worker: beat.address, version: beat.version, how },
      'worker session opened',
    )
    // attempts that another server has handed over count from the first moment
    if (how === 'came') await agents.look()
    const { tag, overload, lightTasks, heavyTasks, containers } = beat.facts
    const worker = { tag, overload, lightTasks, heavyTasks, containers, running: agent.held().length }
    const seen = { ...worker, sessionId: id, appId: beat.appId, address: beat.address, version: beat.version }
    for (const one of events) one.seen?.({ ...seen, heardAtMs: clock.now() })
  }
  const isOvertaken = overtaking()
  const opening = new Map<string, Promise<void>>()
  const open = async (beat: Heard): Promise<void> => {
    // whom this server can not reach would be given runs, and they would come back
    const presence = await courier.probe(beat.address)
    if (presence !== 'listening') {
      log.warn(
        { app: beat.appId, worker: beat.address, presence },
        'worker can not be reached at the address that it says it has',
      )
      return
    }
    for (let tries = 0; tries < 3; tries += 1) {
      const id = await openJavaSession(db, beat, hearing())
      if (id !== undefined) return serve(id, beat, 'opened')
      // another server was faster
      const row = await hearTogether(beat)
      if (row !== undefined) return serve(row.id, beat, 'came')
    }
  }
  return async (message) => {
    const beat = { ...readHeartbeat(message), heardMs: clock.monotonic() }
    const app = await appOf.get(beat.appId)
    if (beat.appName !== null && beat.appName !== app.name)
      throw new Refusal('WORKER_NOT_FOUND', `app ${beat.appId} is not named ${beat.appName.slice(0, 100)}`)
    // the one that was heard has renewed the session, and knows more
    if (isOvertaken(beat)) return
    const row = await hearTogether(beat)
    if (row !== undefined) {
      const isMine = row.former === serverId() && agents.of(row.id) !== undefined
      return serve(row.id, beat, isMine ? 'renewed' : 'came')
    }
    const key = keyOf(beat)
    const underWay = opening.get(key) ?? open(beat).finally(() => opening.delete(key))
    opening.set(key, underWay)
    return underWay
  }
}
