// The not-received rule (contract 4.5): a run of which its Java worker tells nothing for a minute never got there, or was dropped.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { duty, type Duty } from '../../kernel/service.ts'
import type { Directory } from '../../dispatch/directory.ts'
import type { Hub } from '../../dispatch/hub.ts'
import { takeAll, type TakingNeeds } from '../../dispatch/taking.ts'
import { takeUnheard, type TakenRow } from '../../storage/settle.ts'
import type { Agents } from './agents.ts'
import { tellMs } from './courier.ts'

interface Needs extends TakingNeeds {
  readonly clock: Clock
  readonly log: Log
  readonly directory: Directory
  readonly hub: Hub
  readonly agents: Agents
  readonly serverId: () => number
  readonly silenceMs: Millis
}

const everyMs: Millis = 5_000
const unheard = {
  outcome: 'lost',
  error: { code: 'WORKER_LOST', message: 'The worker told nothing of the run any more.' },
  terminal: false,
  retryAfterMs: null,
} as const

/**
 * Creates the duty. It takes nothing back before it has itself been able to look, without a gap, for as long as silence may
 * last: after an outage of all servers the workers need that time to be heard again.
 */
export const createSilence = (needs: Needs): { readonly duty: Duty; runOnce(): Promise<void> } => {
  const { clock, log, directory, hub, agents, serverId, silenceMs } = needs
  // a worker has until then to load what a run needs (contract 3.2)
  const goneMs = silenceMs + tellMs
  let lookingSinceMs: Millis | undefined
  let lookedMs = 0

  /** The worker may have it after all. Its own server tells it: nobody else knows whether it is given the run anew. */
  const tellToStop = (taken: readonly TakenRow[]): void => {
    const elsewhere = new Set<number>()
    for (const row of taken) {
      const agent = agents.of(row.session_id)
      const held = agent?.held().find(({ lease }) => lease === row.lease)
      if (agent === undefined) elsewhere.add(row.session_id)
      // never rejects
      else if (held !== undefined) void agent.drop(held)
    }
    if (elsewhere.size > 0) hub.tell({ sessions: [...elsewhere] })
  }
  const takeBack = (): Promise<void> =>
    takeAll(
      needs,
      (tx, limit) => takeUnheard(tx, { serverId: serverId(), sending: agents.sending(), silenceMs, goneMs }, limit),
      unheard,
      (taken) => {
        log.warn({ runs: taken.map(({ run_id }) => run_id) }, 'runs taken back of which their workers told nothing')
        tellToStop(taken)
      },
    )
  const runOnce = async (): Promise<void> => {
    const nowMs = clock.monotonic()
    // a gap is a look that came late: an outage, or this process was paused
    if (lookingSinceMs === undefined || nowMs - lookedMs > everyMs * 4) lookingSinceMs = nowMs
    if (nowMs - lookingSinceMs >= silenceMs && directory.javaSessions().length > 0) await takeBack()
    lookedMs = clock.monotonic()
  }
  return { runOnce, duty: duty({ name: 'java-silence', clock, log, everyMs, runOnce }) }
}
