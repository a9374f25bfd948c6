// A caller that knows what it was promised: every acknowledged call, and every one whose answer was lost.
import { OnceJobError, OutcomeUnknown, ServerUnreachable, type OnceJobClient } from '@oncejob/client'
import type { RunInput } from '@oncejob/protocol'
import { pause } from './until.ts'

export interface Called {
  /** Ids of the runs that were acknowledged, in no order. */
  readonly acknowledged: number[]
  /** Request keys of calls whose answer never came: each took effect once or not at all. */
  readonly unknown: string[]
  /** What happened to those answers, and how often. */
  readonly unknownWhy: Map<string, number>
  /** How often a call was refused or found no server, and was made again. */
  again: number
}

export interface CallPlan {
  readonly count: number
  /** Calls at once. */
  readonly inFlight: number
  /** Spreads the calls over so long. */
  readonly overMs?: number
  readonly input: (index: number) => RunInput
  /** Ends early. */
  readonly signal?: AbortSignal
}

/** A no that had no effect, by contract: the server is going away, or its database is. */
const isPassing = (error: unknown): boolean =>
  error instanceof ServerUnreachable || (error instanceof OnceJobError && error.retry === 'same-key')

const callOnce = async (client: OnceJobClient, input: RunInput, called: Called): Promise<void> => {
  for (;;) {
    try {
      called.acknowledged.push((await client.runs.create(input)).id)
      return
    } catch (error) {
      if (error instanceof OutcomeUnknown) {
        called.unknown.push(error.requestKey)
        const why = error.cause instanceof Error ? error.cause.message : String(error.cause)
        called.unknownWhy.set(why, (called.unknownWhy.get(why) ?? 0) + 1)
        // Whatever is down would eat up the whole plan otherwise.
        await pause(50)
        return
      }
      if (!isPassing(error)) throw error
      called.again += 1
      await pause(50)
    }
  }
}

/** Rows for the table of counts. */
export const sayCalls = (called: Called, unknownDone: number): Record<string, number> => ({
  'calls acknowledged': called.acknowledged.length,
  'calls without an answer': called.unknown.length,
  '  of these with a run': unknownDone,
  ...Object.fromEntries([...called.unknownWhy].map(([why, count]) => [`  ${why.slice(0, 70)}`, count])),
  'calls made again after a no': called.again,
})

/** Makes calls through outages; rejects only with what a caller should never see. */
export const makeCalls = async (client: OnceJobClient, plan: CallPlan): Promise<Called> => {
  const called: Called = { acknowledged: [], unknown: [], unknownWhy: new Map(), again: 0 }
  const startedMs = performance.now()
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < plan.count && plan.signal?.aborted !== true) {
      const index = next
      next += 1
      const dueMs = ((plan.overMs ?? 0) * index) / plan.count
      const earlyMs = dueMs - (performance.now() - startedMs)
      if (earlyMs > 0) await pause(earlyMs)
      await callOnce(client, plan.input(index), called)
    }
  }
  await Promise.all(Array.from({ length: plan.inFlight }, lane))
  return called
}
