// The agents of this server, one for each Java worker whose heartbeats it hears, and what they must learn from the database.
import type { Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Random } from '../../kernel/random.ts'
import { duty, type Duty } from '../../kernel/service.ts'
import type { KnownSession } from '../../dispatch/directory.ts'
import type { Following } from '../../dispatch/following.ts'
import type { Hub } from '../../dispatch/hub.ts'
import type { Metrics } from '../../dispatch/metrics.ts'
import { settleTaken } from '../../dispatch/settling.ts'
import { lookAtSessions, loseSession, type LookRow } from '../../storage/java-workers.ts'
import { takeByLease } from '../../storage/settle.ts'
import { Agent, type AgentNeeds } from './agent.ts'
import type { JavaWorkerEvents } from './api.ts'
import type { Held } from './held.ts'

export interface AgentsNeeds extends Omit<AgentNeeds, 'lose'> {
  readonly hub: Hub
  readonly random: Random
  readonly metrics: Metrics
  readonly following: Following
  readonly takeBack: () => Promise<void>
  /** Id of this server among the servers. */
  readonly serverId: () => number
  readonly events: readonly JavaWorkerEvents[]
}

export interface Agents {
  readonly duty: Duty
  of(sessionId: number): Agent | undefined
  /** Leases of what is being handed over, or waits for it here: their workers can not have told anything of them. */
  sending(): number[]
  /** The agent of a session that this server hears; it is started when there is none. `isNew`: nobody has served it before. */
  hear(session: KnownSession, isNew: boolean): Agent
  /** Compares what they hold with the database, now. */
  look(): Promise<void>
  stop(): Promise<void>
}

// so long after its last heartbeat it is looked for, and so often
const lateMs: Millis = 25_000
const probeEveryMs: Millis = 5_000

const isAttempt = (row: LookRow): row is LookRow & { run_id: number; lease: number; job_id: number } =>
  row.run_id !== null

const inBackground = (log: Log, work: Promise<void>): void => {
  // bounded: the next look tries again
  work.catch((error: unknown) => log.warn({ err: error }, 'work for a Java worker failed'))
}

/** Ends a session at whose address nobody listens: what was not delivered is as if it had not been claimed. */
const losing = (needs: AgentsNeeds): AgentNeeds['lose'] => {
  const { db, directory, random, following, metrics, log, takeBack, events } = needs
  const lose: AgentNeeds['lose'] = async (session, undelivered) => {
    const { id: sessionId, appId, address } = session
    const { ended, settled } = await db.transaction(async (tx) => {
      const ended = await loseSession(tx, sessionId)
      const taken = await takeByLease(
        tx,
        undelivered.map(({ runId, lease }) => ({ appId, runId, lease })),
      )
      const backs = { outcome: 'handed-back', error: null, terminal: false, retryAfterMs: null } as const
      return { ended, settled: await settleTaken(tx, taken, () => backs, random) }
    })
    directory.remove(sessionId)
    if (ended) log.warn({ session: sessionId, worker: session.name, app: appId }, 'worker session lost')
    metrics.attemptsEnded('handed-back', undelivered.length)
    following.settled(settled)
    await takeBack()
    for (const one of events) one.lost?.({ sessionId, appId, address: address ?? '' })
  }
  return async (session, undelivered) => {
    try {
      await lose(session, undelivered)
    } catch (error) {
      // bounded: without heartbeats the session expires, and what was not sent is found by its silence
      log.warn({ session: session.id, worker: session.name, err: error }, 'lost worker session could not be ended')
    }
  }
}

/** Compares one agent with what the database says of its session. */
const comparing =
  ({ serverId, log }: AgentsNeeds, end: (agent: Agent, how: 'moved' | 'lost') => void) =>
  (agent: Agent, rows: readonly LookRow[], before: readonly Held[]): void => {
    const [first] = rows
    if (first === undefined || first.ended) return end(agent, 'lost')
    if (first.server_id !== serverId()) return end(agent, 'moved')
    const current = rows.filter(isAttempt)
    const byLease = new Map(current.map((row) => [row.lease, row]))
    // what was held when the look began, and is not any more, has ended since
    const known = new Set([...before, ...agent.held()].map(({ lease }) => lease))
    for (const { run_id, lease, job_id, frequent } of current)
      if (!known.has(lease)) agent.adopt({ runId: run_id, lease, jobId: job_id, frequent: frequent === true })
    agent.known()
    for (const held of agent.held()) {
      const row = byLease.get(held.lease)
      if (row?.stop === true) inBackground(log, agent.stopRun(held))
      // what was claimed since the look began is not in it
      if (row === undefined && held.ending === undefined && before.includes(held)) inBackground(log, agent.drop(held))
    }
  }

/** One look at a time; who asks during one gets another after it. */
const oneAtATime = (work: () => Promise<void>): (() => Promise<void>) => {
  let underWay: Promise<void> | undefined
  let again = false
  const run = async (): Promise<void> => {
    try {
      do {
        again = false
        await work()
      } while (again)
    } finally {
      underWay = undefined
    }
  }
  return () => {
    if (underWay !== undefined) again = true
    underWay ??= run()
    return underWay
  }
}

const leasesSending = (agents: readonly Agent[]): number[] =>
  agents
    .flatMap((agent) => agent.held())
    .flatMap(({ phase, lease }) => (phase === 'sending' || phase === 'queued' ? [lease] : []))

/** Looks for those that have not been heard for long. */
const probing = ({ clock, log }: AgentsNeeds) => {
  const probedMs = new WeakMap<Agent, Millis>()
  return (agents: Iterable<Agent>): void => {
    const nowMs = clock.monotonic()
    for (const agent of agents) {
      if (nowMs - agent.heardMs < lateMs || nowMs - (probedMs.get(agent) ?? -Infinity) < probeEveryMs) continue
      probedMs.set(agent, nowMs)
      inBackground(log, agent.suspect())
    }
  }
}

/** Ends agents in the background. */
const createLeaving = (log: Log) => {
  const leaving = new Set<Promise<void>>()
  return {
    leave: (agent: Agent, how: 'moved' | 'stopping' | 'lost'): void => {
      const gone = agent.end(how).finally(() => leaving.delete(gone))
      leaving.add(gone)
      inBackground(log, gone)
    },
    allGone: () => Promise.allSettled(leaving),
  }
}

/** Creates the agents; the duty looks every second for what no hint told. */
export const createAgents = (needs: AgentsNeeds): Agents => {
  const { db, clock, log, hub, courier, events } = needs
  const agents = new Map<number, Agent>()
  const lose = losing(needs)
  const probeLate = probing(needs)
  const { leave, allGone } = createLeaving(log)
  let stopped = false

  const forget = ({ session: { id } }: Agent): void => void agents.delete(id)
  const compare = comparing(needs, (agent, how) => {
    forget(agent)
    const { id: sessionId, appId, name, address } = agent.session
    log.info({ session: sessionId, worker: name, how }, 'worker is not served here any more')
    leave(agent, how)
    if (how === 'lost') for (const one of events) one.lost?.({ sessionId, appId, address: address ?? '' })
  })
  const look = oneAtATime(async () => {
    if (agents.size === 0) return
    const before = new Map([...agents.values()].map((agent) => [agent, agent.held()]))
    const rows = Map.groupBy(await lookAtSessions(db, [...agents.keys()]), (row) => row.id)
    for (const [agent, held] of before)
      if (agents.get(agent.session.id) === agent) compare(agent, rows.get(agent.session.id) ?? [], held)
  })
  const start = (session: KnownSession, isNew: boolean): Agent => {
    const ending: AgentNeeds['lose'] = (lost, held) => lose(lost, held).finally(() => forget(agent))
    const agent = new Agent({ ...needs, lose: ending }, session, isNew && !stopped)
    if (stopped) leave(agent, 'stopping')
    else agents.set(session.id, agent)
    return agent
  }
  hub.on((hint) => {
    if (hint === 'everything' || hint.sessions?.some((id) => agents.has(id)) === true) inBackground(log, look())
  })
  courier.onBroken((address) => {
    for (const agent of agents.values()) if (agent.session.address === address) inBackground(log, agent.suspect())
  })
  return {
    duty: duty({
      name: 'java-workers',
      clock,
      log,
      everyMs: 1000,
      runOnce: () => {
        probeLate(agents.values())
        return look()
      },
    }),
    look,
    of: (sessionId) => agents.get(sessionId),
    sending: () => leasesSending([...agents.values()]),
    hear: (session, isNew) => {
      const known = agents.get(session.id)
      known?.heard(session)
      return known ?? start(session, isNew)
    },
    stop: async () => {
      stopped = true
      for (const agent of agents.values()) leave(agent, 'stopping')
      agents.clear()
      await allGone()
    },
  }
}
