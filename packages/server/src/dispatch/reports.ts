// Takes reports of workers: guarded by the lease (I4), grouped over all workers, every item answered.
import type { Report, ReportAnswer, ReportInput } from '@oncejob/protocol'
import { batcher } from '../kernel/batch.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Random } from '../kernel/random.ts'
import type { Ending } from '../runs/settle.ts'
import { completeSucceeded, pastOutcomes, type CompletedRow } from '../storage/complete.ts'
import type { Db } from '../storage/db.ts'
import { takeByLease, type TakenRow } from '../storage/settle.ts'
import type { Following } from './following.ts'
import type { Metrics } from './metrics.ts'
import { settleTaken, type Settled } from './settling.ts'

type Item = { readonly appId: number; readonly report: Report }
type Answer = ReportAnswer['answers'][number]
type NoSuccess = Exclude<Report, { outcome: 'succeeded' }>

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly following: Following
  readonly maxResultBytes: number
  /** Told of leases whose end is recorded. */
  readonly noteDone: (leases: readonly number[]) => void
}

/** A result as JSON text, cut to the limit. A cut one is a JSON string of the beginning, and marked. */
const resultOf = (report: Report, maxBytes: number): { result: string | null; truncated: boolean } => {
  if (report.outcome !== 'succeeded' || report.result === undefined || report.result === null)
    return { result: null, truncated: false }
  const text = JSON.stringify(report.result)
  const truncated = report.resultTruncated === true
  if (Buffer.byteLength(text) <= maxBytes) return { result: text, truncated }
  return { result: JSON.stringify(Buffer.from(text).subarray(0, maxBytes).toString('utf8')), truncated: true }
}

const endingOf = (report: NoSuccess): Ending =>
  report.outcome === 'handed-back'
    ? { outcome: 'handed-back', error: null, terminal: false, retryAfterMs: null }
    : {
        outcome: report.outcome,
        error: report.error,
        terminal: report.terminal ?? false,
        retryAfterMs: report.retryAfterMs ?? null,
        unfinished: report.unfinished,
        effect: report.effect,
      }

const keyOf = (one: { readonly runId: number; readonly lease: number }): string => `${one.runId}:${one.lease}`

const isNoSuccess = (item: Item): item is Item & { readonly report: NoSuccess } => item.report.outcome !== 'succeeded'

/** Ends what did not succeed, in one transaction. */
const settleOthers = async (
  { db, random }: Needs,
  items: readonly Item[],
): Promise<{ taken: TakenRow[]; settled: Settled | undefined }> => {
  const others = items.filter(isNoSuccess)
  if (others.length === 0) return { taken: [], settled: undefined }
  const endings = new Map(others.map(({ report }) => [keyOf(report), endingOf(report)]))
  return db.transaction(async (tx) => {
    const taken = await takeByLease(
      tx,
      others.map(({ appId, report }) => ({ appId, runId: report.runId, lease: report.lease })),
    )
    const settled = await settleTaken(
      tx,
      taken,
      // taken by exactly these leases
      (row) =>
        endings.get(keyOf({ runId: row.run_id, lease: row.lease })) ?? {
          outcome: 'failed',
          error: null,
          terminal: false,
          retryAfterMs: null,
        },
      random,
    )
    return { taken, settled }
  })
}

/** Reports whose lease is not current: recorded before with the same outcome, or lost. */
const judgeStale = async ({ db, metrics }: Needs, items: readonly Item[]): Promise<Answer[]> => {
  if (items.length === 0) return []
  const past = await pastOutcomes(
    db,
    items.map(({ appId, report }) => ({ appId, runId: report.runId, lease: report.lease })),
  )
  return items.map(({ report: { runId, lease, outcome } }, i) => {
    const row = past[i]
    if (row?.outcome === outcome) {
      metrics.duplicatesRefused('report_duplicate')
      return { runId, lease, answer: 'duplicate' }
    }
    if (row?.known !== true) return { runId, lease, answer: 'unknown', code: 'RUN_NOT_FOUND' }
    metrics.duplicatesRefused('report_lost')
    return { runId, lease, answer: 'lost', code: 'LEASE_LOST' }
  })
}

/** Creates the report part of the core. */
export const createReports = (needs: Needs) => {
  const { db, clock, metrics, following } = needs

  const complete = async (items: readonly Item[]): Promise<CompletedRow[]> =>
    items.length === 0
      ? []
      : completeSucceeded(
          db,
          items.map(({ appId, report }) => ({
            appId,
            runId: report.runId,
            lease: report.lease,
            ...resultOf(report, needs.maxResultBytes),
          })),
        )
  const together = batcher<Item, Answer>({
    maxSize: 1000,
    run: async (items) => {
      // the same lease twice in one batch: the first counts, the others are judged like any repeat
      const first = new Map<string, Item>()
      for (const item of items) if (!first.has(keyOf(item.report))) first.set(keyOf(item.report), item)
      const distinct = [...first.values()]
      const startedMs = clock.monotonic()
      const [done, { taken, settled }] = await Promise.all([
        complete(distinct.filter((item) => !isNoSuccess(item))),
        settleOthers(needs, distinct),
      ])
      metrics.completed(items.length, clock.monotonic() - startedMs)
      needs.noteDone([...done, ...taken].map((row) => row.lease))
      const accepted = new Set([...done, ...taken].map((row) => keyOf({ runId: row.run_id, lease: row.lease })))
      const isAccepted = (item: Item): boolean =>
        first.get(keyOf(item.report)) === item && accepted.has(keyOf(item.report))
      for (const [outcome, group] of Map.groupBy(items.filter(isAccepted), (item) => item.report.outcome))
        metrics.attemptsEnded(outcome, group.length)
      following.ended(
        done.map((row) => ({ runId: row.run_id, state: 'succeeded' })),
        [...new Set(done.filter((row) => row.follows).map((row) => row.job_id))],
      )
      if (settled !== undefined) following.settled(settled)
      const stale = items.filter((item) => !isAccepted(item))
      const judged = await judgeStale(needs, stale)
      const answers = new Map(stale.map((item, i) => [item, judged[i]]))
      return items.map(
        (item) => answers.get(item) ?? { runId: item.report.runId, lease: item.report.lease, answer: 'accepted' },
      )
    },
  })
  return {
    report: async (appId: number, input: ReportInput): Promise<ReportAnswer> => ({
      answers: await Promise.all(input.reports.map((report) => together({ appId, report }))),
    }),
  }
}
