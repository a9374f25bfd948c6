// Runs that their Java worker does not have any more, by its own words: it was restarted, or could not begin them and was not heard.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { takeAll, type TakingNeeds } from '../../dispatch/taking.ts'
import { takeForgotten } from '../../storage/settle.ts'
import type { Agent } from './agent.ts'
import type { Held } from './held.ts'

interface Needs extends TakingNeeds {
  readonly clock: Clock
  readonly log: Log
}

/** A heartbeat. `timeMs`: by the worker's clock; `heardMs`: by ours, which only grows. */
export interface Beat {
  readonly heardMs: Millis
  readonly timeMs: Millis
  /** It says that the worker has no run at all; a worker keeps one until its end is acknowledged, or it gave that up. */
  readonly idle: boolean
}

/** What a worker said lately. */
export interface Story {
  /** How far its clock is ahead of ours, at least: a heartbeat was written before it was heard. */
  readonly aheadMs: Millis
  /** Heartbeats, the newest last, that said without a gap that it has nothing. */
  readonly idle: readonly Beat[]
}

// a heartbeat may be written before a run is taken and heard after it; those of two such messages can not both be late
const settledMs: Millis = 10_000
// after a pause of this server what was said meanwhile is heard at once, a report of a result perhaps last
const apartMs: Millis = 5_000

/** Adds a heartbeat to what was said before. */
export const listen = (before: Story | undefined, beat: Beat): Story => {
  const aheadMs = Math.max(before?.aheadMs ?? -Infinity, beat.timeMs - beat.heardMs)
  const idle = before?.idle ?? []
  if (!beat.idle) return { aheadMs, idle: [] }
  // one that was overtaken says nothing new
  if (beat.timeMs <= (idle.at(-1)?.timeMs ?? -Infinity)) return { aheadMs, idle }
  const first = Math.max(
    0,
    idle.findLastIndex(({ heardMs }) => heardMs <= beat.heardMs - apartMs),
  )
  return { aheadMs, idle: [...idle.slice(first), beat] }
}

/** A time by the worker's clock, and at the latest by ours. */
export interface Since {
  readonly timeMs: Millis
  readonly oursMs: Millis
}

/** Since when the worker has nothing, by two of its heartbeats at least; undefined: that is not certain. */
export const nothingSince = ({ aheadMs, idle }: Story): Since | undefined => {
  const [first, last] = [idle[0], idle.at(-1)]
  if (first === undefined || last === undefined || last.heardMs - first.heardMs < apartMs) return undefined
  return { timeMs: first.timeMs, oursMs: first.timeMs - aheadMs }
}

const forgotten = {
  outcome: 'lost',
  error: { code: 'WORKER_LOST', message: 'The worker does not have the run any more.' },
  terminal: false,
  retryAfterMs: null,
} as const

const mayBeGone = ({ phase, ending, stopping }: Held): boolean =>
  phase !== 'queued' && ending === undefined && !stopping

/** @param beat without a time it says nothing */
export type Compare = (agent: Agent, beat: Omit<Beat, 'timeMs'> & { readonly timeMs: Millis | null }) => void

/** Creates what compares heartbeats with what their workers were given. What follows is done in the background. */
export const createForgotten = (needs: Needs): Compare => {
  const { log } = needs
  const stories = new WeakMap<Agent, Story>()

  const takeBack = async (agent: Agent, { timeMs, oursMs }: Since, held: readonly Held[]): Promise<void> => {
    const byLease = new Map(held.map((one) => [one.lease, one]))
    const doubted = held.map(({ runId, lease, answeredMs }) => ({
      runId,
      lease,
      // what was handed over elsewhere is known to have arrived once the worker has told of it: the database knows
      taken: answeredMs !== undefined && answeredMs + settledMs <= oursMs,
    }))
    await takeAll(
      needs,
      (tx) => takeForgotten(tx, doubted, timeMs, settledMs),
      forgotten,
      (taken) => {
        const runs = taken.map(({ run_id }) => run_id)
        log.warn(
          { session: agent.session.id, worker: agent.session.name, runs },
          'runs taken back that their worker lost',
        )
        for (const { lease } of taken) {
          const lost = byLease.get(lease)
          // never rejects
          if (lost !== undefined) void agent.drop(lost)
        }
      },
    )
  }
  return (agent, { timeMs, heardMs, idle }) => {
    if (timeMs === null) return
    const story = listen(stories.get(agent), { timeMs, heardMs, idle })
    stories.set(agent, story)
    const since = nothingSince(story)
    const held = agent.held().filter(mayBeGone)
    if (since === undefined || held.length === 0) return
    // bounded: the next heartbeat says it again
    takeBack(agent, since, held).catch((error: unknown) =>
      log.warn({ session: agent.session.id, err: error }, 'lost runs of a worker not taken back'),
    )
  }
}
