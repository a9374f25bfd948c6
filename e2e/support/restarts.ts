// A database that goes away again and again under load: what the suites of database-restarts do, and what must hold then (I6).
import type { SeededRandom } from '@oncejob/testkit'
import { makeCalls, sayCalls } from './calls.ts'
import { below } from './chance.ts'
import type { Fleet } from './fleet.ts'
import { ofKind } from './ledger.ts'
import { proveCalls } from './proof.ts'
import { printTable } from './sizes.ts'
import { pause, until } from './until.ts'

export interface Restarts {
  readonly title: string
  readonly random: SeededRandom
  readonly calls: { readonly count: number; readonly overMs: number }
  /** Each of them comes at a moment of chance, once so many executions have ended since the one before. */
  readonly restarts: readonly (() => Promise<unknown>)[]
  readonly ends: number
  readonly pauseMs: number
  /** For the table of counts. */
  readonly says: Readonly<Record<string, number | string>>
}

export const surviveRestarts = async (fleet: Fleet, plan: Restarts): Promise<void> => {
  const { client, addWorker, ledger } = fleet
  await client.jobs.create({ name: 'called', processor: 'work', retry: { maxLost: 1000, max: 1000, delayMs: 0 } })
  await Promise.all([addWorker('worker-1'), addWorker('worker-2')])

  const over = new AbortController()
  const calls = makeCalls(client, {
    ...plan.calls,
    inFlight: 8,
    input: () => ({ job: 'called' }),
    signal: over.signal,
  })
  const workGoesOn = async (): Promise<void> => {
    const before = ofKind(ledger(), 'end').length
    await until('work goes on', () => ofKind(ledger(), 'end').length > before + plan.ends)
  }
  for (const restart of plan.restarts) {
    await workGoesOn()
    await pause(below(plan.random, plan.pauseMs))
    await restart()
  }
  await workGoesOn()
  over.abort()
  const called = await calls
  const { facts, entries, unknownDone } = await proveCalls(fleet, called)
  printTable(plan.title, {
    ...plan.says,
    ...sayCalls(called, unknownDone),
    'executions begun': ofKind(entries, 'start').length,
    'completions accepted': facts.attempts.filter((attempt) => attempt.outcome === 'succeeded').length,
  })
}
