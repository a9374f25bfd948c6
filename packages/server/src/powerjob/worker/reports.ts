// Takes the status reports of Java workers (contract 3.3, 4.4): judged, recorded like any worker's, and only then acknowledged.
import type { Report } from '@oncejob/protocol'
import { batcher } from '../../kernel/batch.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Directory } from '../../dispatch/directory.ts'
import type { Metrics } from '../../dispatch/metrics.ts'
import type { Db } from '../../storage/db.ts'
import { isLifeOver } from '../../storage/frequent-jobs.ts'
import { attemptFences, keepTold, type FenceRow, type Told } from '../../storage/java-attempts.ts'
import type { AskReply } from './api.ts'
import type { Courier } from './courier.ts'
import { judge, setBackMs, type LiveAttempt, type Verdict } from './fence.ts'
import { endBy, liveOf, type Desk, type Held } from './held.ts'
import { readReport, type WorkerReport } from './reading.ts'
import { explainUnloaded } from './unloaded.ts'
import type { Members } from './wire.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly directory: Directory
  readonly courier: Courier
  readonly desk: Desk
  readonly report: (appId: number, reports: Report[]) => Promise<unknown>
  /** A long run was told of: its single executions may be looked at. */
  readonly repeated: (run: { readonly runId: number; readonly lease: number; readonly address: string }) => void
}

/** The attempt that a report is about. */
interface Target {
  readonly live: LiveAttempt
  readonly lease: number
  readonly jobId: number
  readonly frequent: boolean
  /** Undefined: it stands in the database only. */
  readonly held: Held | undefined
}

const acknowledged: AskReply = { success: true }
const zombieMs: Millis = 10_000
const mostZombies = 10_000
const mostMessage = 8_192

const errorOf = ({ result }: WorkerReport): { code: string; message: string } => {
  const message = (result ?? '').slice(0, mostMessage).toWellFormed() || 'The worker did not say why.'
  const isLate = message.startsWith('instance execute timeout')
  return { code: isLate ? 'ATTEMPT_TIMED_OUT' : 'PROCESSOR_FAILED', message }
}

/** A final report in our words. A long run is not tried again by its policy: another one takes its place. */
export const nativeReport = (report: WorkerReport, lease: number, frequent: boolean): Report => {
  const { runId, status, result } = report
  if (status === 'succeeded') return { runId, lease, outcome: 'succeeded', result }
  const error = errorOf(report)
  const isLate = error.code === 'ATTEMPT_TIMED_OUT'
  return {
    runId,
    lease,
    outcome: isLate ? 'timed-out' : 'failed',
    error,
    terminal: frequent,
    // who was not interrupted goes on
    ...(isLate ? { unfinished: !error.message.includes('interrupted success') } : {}),
  }
}

const toldOf = (report: WorkerReport, lease: number): Told => {
  const { runId, startTime, reportTime, total, succeeded, failed } = report
  return { runId, lease, startTime, reportTime, total, succeeded, failed }
}

/** Tells workers to stop what is not theirs any more; each once in a while, and only those that have a session. */
const createZombies = ({ clock, log, directory, courier, desk }: Needs) => {
  const told = new Map<string, Millis>()
  return ({ runId, address, appId }: WorkerReport, why: string): void => {
    const key = `${address} ${runId}`
    const nowMs = clock.monotonic()
    if (nowMs - (told.get(key) ?? -Infinity) < zombieMs) return
    const known = directory
      .javaSessions()
      .some((one) => one.address === address && (appId === null || one.appId === appId))
    // it may have been given the run anew, and that must not be stopped
    const isAnew = desk.of(runId)?.address === address
    if (!known || isAnew) return
    if (told.size >= mostZombies) told.clear()
    told.set(key, nowMs)
    log.info({ run: runId, worker: address, why }, 'worker told to stop a run that it does not have any more')
    // never rejects; one that did not arrive is sent after the next report
    void courier.tell(address, '/worker/stopInstance', { instanceId: runId })
  }
}

/** Finds the attempt that a report is about: what this server has handed over itself needs no database. */
const finding = ({ db, desk }: Needs) => {
  const fenceOf = batcher<number, FenceRow | undefined>({
    maxSize: 500,
    run: async (runIds) => {
      const rows = new Map((await attemptFences(db, [...new Set(runIds)])).map((row) => [row.run_id, row]))
      return runIds.map((id) => rows.get(id))
    },
  })
  const atHand = (runId: number): Target | undefined => {
    const held = desk.of(runId)
    if (held === undefined || held.phase === 'foreign') return undefined
    const { lease, jobId, frequent } = held
    return { live: liveOf(held, desk.lately(runId)), lease, jobId, frequent, held }
  }
  const recorded = async (runId: number): Promise<Target | undefined> => {
    const row = await fenceOf(runId)
    if (row === undefined) return undefined
    const { app_id: appId, address, start_time: startTime, report_time: reportTime } = row
    const held = desk.of(runId)
    const earlier = [...row.earlier, ...desk.lately(runId)]
    return {
      live: { appId, address, sent: true, startTime, reportTime, earlier },
      lease: row.lease,
      jobId: row.job_id,
      frequent: row.frequent,
      held: held?.lease === row.lease ? held : undefined,
    }
  }
  return async (report: WorkerReport): Promise<{ target: Target | undefined; verdict: Verdict }> => {
    const known = atHand(report.runId)
    const verdict = judge(known?.live, report)
    if (known !== undefined && verdict.kind === 'accept') return { target: known, verdict }
    // what is remembered may be over, and the run with another worker: only the database refuses
    const target = await recorded(report.runId)
    if (known !== undefined && target?.lease === known.lease) return { target: known, verdict }
    return { target, verdict: judge(target?.live, report) }
  }
}

const note = ({ held }: Target, { startTime, reportTime }: WorkerReport): void => {
  if (held === undefined) return
  if (held.startTime !== null && held.startTime !== startTime) held.earlier = [...held.earlier, held.startTime]
  held.startTime = startTime
  held.reportTime = reportTime
}

/** Records reports that count. */
const recording = ({ db, log, courier, report: record, repeated }: Needs) => {
  const keepTogether = batcher<Told, boolean>({
    maxSize: 500,
    run: async (told) => {
      // the newest of a run stands for the others
      const last = new Map(told.map((one) => [one.runId, one]))
      const kept = new Set(
        (await keepTold(db, [...last.values()], setBackMs)).map(({ run_id, lease }) => `${run_id}:${lease}`),
      )
      return told.map(({ runId, lease }) => kept.has(`${runId}:${lease}`))
    },
  })
  /** Ends the attempt by one native report with its lease. */
  const end = async ({ held, live }: Target, report: Report): Promise<void> => {
    if (held === undefined) {
      await record(live.appId, [report])
      return
    }
    await endBy(held, record(live.appId, [report]))
  }
  const running = async (target: Target, report: WorkerReport): Promise<void> => {
    const { lease, frequent, jobId } = target
    const { runId, address, alert, result } = report
    note(target, report)
    const kept = await keepTogether(toldOf(report, lease))
    if (!kept || !frequent) return
    if (alert !== null)
      log.warn({ run: runId, job: jobId, alert: alert.slice(0, 500) }, 'job fails as often as it must not')
    if (!(await isLifeOver(db, jobId))) return repeated({ runId, lease, address })
    await courier.tell(address, '/worker/stopInstance', { instanceId: runId })
    await end(target, { runId, lease, outcome: 'succeeded', result })
  }
  const final = async (target: Target, report: WorkerReport): Promise<void> => {
    note(target, report)
    // what has failed may begin anew, and then its beginning must be known as that of an earlier attempt
    if (report.status === 'failed') await keepTogether(toldOf(report, target.lease))
    const explained = await explainUnloaded(db, target.jobId, report)
    await end(target, nativeReport(explained, target.lease, target.frequent))
  }
  return (target: Target, report: WorkerReport): Promise<void> =>
    report.status === 'running' ? running(target, report) : final(target, report)
}

/** Creates what takes reports. @returns undefined when nobody waits for an answer */
export const createReporting = (needs: Needs): ((message: Members) => Promise<AskReply | undefined>) => {
  const { log, metrics, desk } = needs
  const stopZombie = createZombies(needs)
  const find = finding(needs)
  const record = recording(needs)
  return async (message) => {
    const report = readReport(message)
    const { runId, status, address: worker } = report
    // the same report twice at once: the second is judged when the first has counted
    for (let ending = desk.of(runId)?.ending; ending !== undefined; ending = desk.of(runId)?.ending) await ending
    const { target, verdict } = await find(report)
    if (verdict.kind === 'ignore') {
      metrics.duplicatesRefused(status === 'running' ? 'report_lost' : 'report_duplicate')
      log.debug({ run: runId, worker, why: verdict.why, status }, 'report of a worker changed nothing')
      if (verdict.stop) stopZombie(report, verdict.why)
    } else if (target !== undefined) await record(target, report)
    return status === 'running' ? undefined : acknowledged
  }
}
