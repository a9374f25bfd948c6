// What this server remembers of a session between its polls: when it was renewed, what it was given. All of it can be lost.
import type { PollInput } from '@oncejob/protocol'
import { batcher } from '../kernel/batch.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Db } from '../storage/db.ts'
import { renewSessions, storeProgress, type Progress, type Renewal } from '../storage/sessions.ts'
import type { Directory, KnownSession } from './directory.ts'
import type { SessionTimes } from './sessions.ts'

export interface Memory {
  renewedMs: number
  checkedMs: number
  /** The last poll was cut off: what it was given may not have arrived. */
  doubtful: boolean
  /** Leases in the last answer. */
  given: readonly number[]
  progress: Map<number, string>
}

interface Needs {
  readonly db: Db
  readonly directory: Directory
  readonly clock: Clock
  readonly times: SessionTimes
}

// leases of the last seconds are enough: a poll follows its answer at once
const maxDone = 50_000
// how often the leases of a busy worker are compared with the database without any suspicion
const checkEveryMs = 1000

/** Stores what has changed of the progress that a poll tells. */
const keepProgress = async (db: Db, input: PollInput, memory: Memory): Promise<void> => {
  const changed: Progress[] = []
  const seen = new Map<number, string>()
  for (const { runId, lease, progress } of input.held) {
    if (progress === undefined) continue
    // PostgreSQL's JSON has no U+0000
    const note = progress.note?.replaceAll('\0', '') ?? null
    const text = JSON.stringify({ percent: progress.percent ?? null, note })
    seen.set(lease, text)
    if (memory.progress.get(lease) !== text) changed.push({ runId, lease, progress: text })
  }
  if (changed.length > 0) await storeProgress(db, changed)
  memory.progress = seen
}

export type Memories = ReturnType<typeof createMemories>

/** Creates the memories of all sessions that poll this server. */
export const createMemories = (needs: Needs) => {
  const { db, directory, clock, times } = needs
  const memories = new Map<number, Memory>()
  let done = new Set<number>()

  const renewTogether = batcher<Renewal, boolean>({
    maxSize: 1000,
    run: async (renewals) => {
      const live = new Set((await renewSessions(db, renewals, times.leaseMs)).map((row) => row.id))
      return renewals.map((renewal) => live.has(renewal.sessionId))
    },
  })
  const of = (sessionId: number): Memory => {
    const known = memories.get(sessionId)
    if (known !== undefined) return known
    const memory: Memory = {
      renewedMs: -Infinity,
      checkedMs: -Infinity,
      doubtful: true,
      given: [],
      progress: new Map(),
    }
    memories.set(sessionId, memory)
    return memory
  }
  return {
    of,
    forget: (sessionId: number): void => {
      memories.delete(sessionId)
    },
    /** A new session holds nothing and was renewed by its opening. */
    opened: (sessionId: number): void => {
      const memory = of(sessionId)
      memory.renewedMs = clock.monotonic()
      memory.checkedMs = memory.renewedMs
      memory.doubtful = false
    },
    checked: (memory: Memory): void => {
      memory.checkedMs = clock.monotonic()
      memory.doubtful = false
    },
    noteDone: (leases: readonly number[]): void => {
      if (done.size > maxDone) done = new Set()
      for (const lease of leases) done.add(lease)
    },
    /** Renews the session's lease. False: it has ended. */
    renew: async (session: KnownSession, input: PollInput, memory: Memory): Promise<boolean> => {
      const nowMs = clock.monotonic()
      const draining = input.draining === true
      // a busy worker polls hundreds of times a second: the lease needs far less
      if (nowMs - memory.renewedMs < times.leaseMs / 20 && draining === session.draining) return true
      const live = await renewTogether({ sessionId: session.id, draining, metrics: input.metrics ?? null })
      if (!live) return false
      memory.renewedMs = nowMs
      if (input.metrics !== undefined || draining !== session.draining) {
        directory.put({ ...session, draining, metrics: input.metrics ?? session.metrics })
      }
      return true
    },
    keepProgress: (input: PollInput, memory: Memory): Promise<void> => keepProgress(db, input, memory),
    /** True when the leases that a worker names should be compared with the database. */
    mustCheck: (input: PollInput, memory: Memory): boolean => {
      if (memory.doubtful || clock.monotonic() - memory.checkedMs > checkEveryMs) return true
      if (memory.given.length === 0) return false
      const named = new Set(input.held.map((one) => one.lease))
      return memory.given.some((lease) => !named.has(lease) && !done.has(lease))
    },
  }
}
