// Numbers for Prometheus, named by its conventions: what the core records, and what is counted at each scrape.
import type { AttemptOutcome, EndedRunState, FireOutcome, UnknownReason } from '@oncejob/protocol'
import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Queries } from '../storage/db.ts'
import { readBacklog, type Backlog } from '../storage/doctor.ts'

/** What was refused because it had been done before: a report sent again, a report of a lost lease, a hand-over
 * repeated, a call repeated with its request key, a call for a run that its run key had already. */
export type DuplicateKind = 'report_duplicate' | 'report_lost' | 'redelivery' | 'request_replayed' | 'run_key'
/** Statements of the hot path that carry many items at once. */
export type BatchKind = 'submit' | 'claim' | 'complete' | 'log'

/** What the core tells. Counts default to 1, times are ms; nothing here throws or waits. */
export interface Metrics {
  /** One statement made `runs` runs in `tookMs`. */
  submitted(runs: number, tookMs: Millis): void
  /** One statement gave `runs` runs to workers in `tookMs`; with 0 only the time counts. */
  claimed(runs: number, tookMs: Millis): void
  /** One statement judged `reports` reports in `tookMs`. */
  completed(reports: number, tookMs: Millis): void
  /** One statement stored `lines` lines of run logs. */
  logged(lines: number): void
  runsEnded(state: EndedRunState, count?: number): void
  /** Runs whose outcome became unknown. */
  runsUnknown(reason: UnknownReason, count?: number): void
  attemptsEnded(outcome: AttemptOutcome, count?: number): void
  leasesLost(count?: number): void
  duplicatesRefused(kind: DuplicateKind, count?: number): void
  fires(outcome: FireOutcome, count?: number): void
  /** How long after its planned time a fire was made. */
  fireLateness(latenessMs: Millis): void
}

// From a grouped statement on an idle machine (1 ms) to one that is near its timeout.
const statementSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const latenessSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
const batchSizes = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]

/**
 * Registers the recorded metrics, and those of the process, on `registry`.
 * @throws Error when the registry already has them
 */
export const createMetrics = (registry: Registry): Metrics => {
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name, help, labelNames, registers })
  const seconds = (name: string, help: string, buckets: readonly number[]) =>
    new Histogram({ name, help, buckets: [...buckets], registers })

  const submittedTotal = counter('oncejob_runs_submitted_total', 'Runs made by calls', [])
  const endedTotal = counter('oncejob_runs_ended_total', 'Runs that reached a terminal state', ['state'])
  const unknownTotal = counter('oncejob_runs_unknown_total', 'Runs whose outcome became unknown', ['reason'])
  const attemptsTotal = counter('oncejob_attempts_total', 'Attempts that ended', ['outcome'])
  const lostTotal = counter('oncejob_leases_lost_total', 'Leases taken back from workers that were lost', [])
  const refusedTotal = counter('oncejob_duplicates_refused_total', 'Repeats that had no second effect', ['kind'])
  const firesTotal = counter('oncejob_fires_total', 'Planned occurrences by what became of them', ['outcome'])
  const submit = seconds('oncejob_submit_seconds', 'Time of the statement that makes runs', statementSeconds)
  const claim = seconds('oncejob_claim_seconds', 'Time of the statement that claims runs', statementSeconds)
  const complete = seconds('oncejob_complete_seconds', 'Time of the statement that ends attempts', statementSeconds)
  const lateness = seconds('oncejob_fire_lateness_seconds', 'Time from planned to made, per fire', latenessSeconds)
  const batch = new Histogram({
    name: 'oncejob_batch_size',
    help: 'Items carried by one statement',
    labelNames: ['kind'],
    buckets: batchSizes,
    registers,
  })
  const size = (kind: BatchKind, items: number): void => {
    if (items > 0) batch.observe({ kind }, items)
  }
  return {
    submitted: (runs, tookMs) => {
      submittedTotal.inc(runs)
      submit.observe(tookMs / 1000)
      size('submit', runs)
    },
    claimed: (runs, tookMs) => {
      claim.observe(tookMs / 1000)
      size('claim', runs)
    },
    completed: (reports, tookMs) => {
      complete.observe(tookMs / 1000)
      size('complete', reports)
    },
    logged: (lines) => size('log', lines),
    runsEnded: (state, count = 1) => endedTotal.inc({ state }, count),
    runsUnknown: (reason, count = 1) => unknownTotal.inc({ reason }, count),
    attemptsEnded: (outcome, count = 1) => attemptsTotal.inc({ outcome }, count),
    leasesLost: (count = 1) => lostTotal.inc(count),
    duplicatesRefused: (kind, count = 1) => refusedTotal.inc({ kind }, count),
    fires: (outcome, count = 1) => firesTotal.inc({ outcome }, count),
    fireLateness: (latenessMs) => lateness.observe(Math.max(0, latenessMs) / 1000),
  }
}

/**
 * Registers the gauges that show the state of the whole cluster. They are read by one statement per scrape;
 * while the database cannot be read they have no value, which an alert can see, and no old one.
 */
export const collectBacklog = (registry: Registry, needs: { readonly db: Queries; readonly log: Log }): void => {
  let underWay: Promise<Backlog | undefined> | undefined
  // All gauges of one scrape ask at the same moment and share the answer.
  const reading = (): Promise<Backlog | undefined> => {
    underWay ??= readBacklog(needs.db)
      .catch((error: unknown) => {
        // translated: a scrape answers what it has
        needs.log.warn({ err: error }, 'backlog could not be read')
        return undefined
      })
      .finally(() => {
        underWay = undefined
      })
    return underWay
  }
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: L[],
    set: (gauge: Gauge<L>, read: Backlog) => void,
  ) =>
    new Gauge<L>({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        const read = await reading()
        this.reset()
        // Without labels, reset puts a 0 there, and 0 would be a lie.
        this.remove({})
        if (read !== undefined) set(this, read)
      },
    })
  gauge('oncejob_runs', 'Open runs by where they are', ['state'], (runs, read) => {
    runs.set({ state: 'ready' }, read.ready)
    runs.set({ state: 'later' }, read.later)
    runs.set({ state: 'blocked' }, read.blocked)
    runs.set({ state: 'running' }, read.running)
    runs.set({ state: 'unknown' }, read.unknown)
  })
  gauge('oncejob_queue_lag_seconds', 'Age of the oldest due run that no worker has taken', [], (lag, read) => {
    lag.set(read.lagMs / 1000)
  })
  gauge('oncejob_sessions', 'Open worker sessions', ['state'], (sessions, read) => {
    sessions.set({ state: 'live' }, read.live)
    sessions.set({ state: 'draining' }, read.draining)
    sessions.set({ state: 'late' }, read.late)
  })
}
