// Online logs of Java workers (contract 3.4, 6) become lines of the runs' logs: in the order of the worker's clock, by attempt.
import { Counter, type Registry } from 'prom-client'
import { batcher } from '../../kernel/batch.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { duty, type Duty } from '../../kernel/service.ts'
import { defaultLogsOptions, type LogInput, type Logs } from '../../logs/service.ts'
import type { Db } from '../../storage/db.ts'
import { loggedAttempts, rollLongLogs, type LoggedAttempt } from '../../storage/logs.ts'
import type { Origin } from './networks.ts'
import type { Origins } from './origins.ts'
import { numberOf, objectsOf, textOf, wholeOf, UnreadableMessage, type Members } from './wire.ts'

export interface JavaLogsNeeds {
  readonly db: Db
  readonly logs: Logs
  readonly clock: Clock
  readonly log: Log
  readonly registry: Registry
  readonly origins: Pick<Origins, 'isPlace'>
}

export interface JavaLogs {
  /** Stores what a worker sent; resolves once the lines are committed or known to belong nowhere. */
  report(message: Members, origin: Origin): Promise<void>
  /** Notes how far the clock of a worker is ahead, from a heartbeat that has just come. */
  noteClock(address: string, workerMs: Millis): void
  /** Keeps the logs of runs that last as long as their job within bounds. */
  readonly duty: Duty
}

/** One line as it came. */
export interface JavaLine {
  readonly address: string
  readonly runId: number
  readonly atMs: Millis
  readonly level: LogInput['entries'][number]['level']
  readonly text: string
}

const mostEntries = 2_000
const longestText = 65_536
// what workers send in one go comes on several connections; sorted after so long, it is in order
const gatherMs: Millis = 100
const mostWaiting = 5_000
const mostClocks = 10_000

const levels = new Map<number | null, JavaLine['level']>([
  [1, 'debug'],
  [2, 'info'],
  [3, 'warn'],
  [4, 'error'],
])

const cut = (text: string): string => (text.length > longestText ? `${text.slice(0, longestText - 2)} …` : text)

/** Reads a message. Entries of no possible run are counted as dropped. @throws UnreadableMessage */
export const readLines = (message: Members): { readonly lines: readonly JavaLine[]; readonly dropped: number } => {
  const address = textOf(message, 'workerAddress')
  if (address === null) throw new UnreadableMessage('it names no worker')
  const entries = objectsOf(message, 'instanceLogContents')
  const lines = entries.slice(0, mostEntries).flatMap((entry): JavaLine[] => {
    const runId = wholeOf(entry, 'instanceId') ?? 0
    if (runId < 1) return []
    const atMs = Math.max(0, Math.trunc(numberOf(entry, 'logTime') ?? 0))
    const level = levels.get(wholeOf(entry, 'logLevel')) ?? 'info'
    return [{ address, runId, atMs, level, text: cut(textOf(entry, 'logContent') ?? '') }]
  })
  return { lines, dropped: entries.length - lines.length }
}

// a retry starts later than the lines of the attempt before it, but not by much, and clocks are compared over a network
const tolerantMs: Millis = 50

/**
 * The attempt that a line belongs to: the latest of that worker which had begun when it was written; a worker that had none
 * does a part of the latest attempt that had begun.
 * @param attempts of one worker and one run, oldest first
 */
export const attemptOf = (attempts: readonly LoggedAttempt[], writtenMs: Millis): LoggedAttempt | undefined => {
  const own = attempts.filter((attempt) => attempt.own)
  const possible = own.length > 0 ? own : attempts
  return possible.findLast(({ startedMs }) => startedMs <= writtenMs + tolerantMs) ?? possible[0]
}

const pairOf = ({ address, runId }: { readonly address: string; readonly runId: number }): string =>
  `${address} ${runId}`

const byTime = <L extends JavaLine>(lines: readonly L[]): L[] => lines.toSorted((one, other) => one.atMs - other.atMs)

/** The lines of one gathering as requests to the run logs, and how many belong nowhere. */
export const sorted = <L extends JavaLine>(
  lines: readonly L[],
  attempts: readonly LoggedAttempt[],
  aheadOf: (address: string) => Millis,
  mayWrite: (line: L, appId: number) => boolean = () => true,
): { readonly requests: ReadonlyMap<string, LogInput & { readonly appId: number }>; readonly dropped: number } => {
  const known = Map.groupBy(attempts, pairOf)
  const requests = new Map<string, LogInput & { readonly appId: number }>()
  let dropped = 0
  for (const line of byTime(lines)) {
    const attempt = attemptOf(known.get(pairOf(line)) ?? [], line.atMs - aheadOf(line.address))
    if (attempt === undefined || !mayWrite(line, attempt.appId)) {
      dropped += 1
      continue
    }
    const key = `${attempt.appId} ${line.address}`
    const request = requests.get(key) ?? { appId: attempt.appId, worker: line.address, entries: [] }
    const { runId, lease } = attempt
    request.entries.push({ runId, lease, at: line.atMs, level: line.level, text: line.text })
    requests.set(key, request)
  }
  return { requests, dropped }
}

/** A line, and where it came from. */
type Heard = JavaLine & { readonly origin: Origin }

/** The message names no app: whether its worker may be where it says is a matter of the app of each run. */
const judging = async (
  { origins }: JavaLogsNeeds,
  lines: readonly Heard[],
  attempts: readonly LoggedAttempt[],
): Promise<(line: Heard, appId: number) => boolean> => {
  const nameOf = ({ address, origin }: Heard, appId: number): string => `${appId} ${address} ${origin.peer}`
  const appsOf = Map.groupBy(attempts, pairOf)
  const asked = new Map<string, () => Promise<boolean>>()
  for (const line of lines)
    for (const { appId } of appsOf.get(pairOf(line)) ?? [])
      asked.set(nameOf(line, appId), () => origins.isPlace(appId, line.address, line.origin))
  const places = new Map(await Promise.all([...asked].map(async ([name, ask]) => [name, await ask()] as const)))
  return (line, appId) => places.get(nameOf(line, appId)) === true
}

export const createJavaLogs = (needs: JavaLogsNeeds): JavaLogs => {
  const { db, logs, clock, log, registry } = needs
  const lost = new Counter({
    name: 'powerjob_worker_log_lines_dropped_total',
    help: 'Log lines of Java workers that were not kept: of runs that are not known or not theirs, malformed, or too many at once.',
    registers: [registry],
  })
  const drop = (count: number): void => {
    if (count > 0) lost.inc(count)
  }
  const ahead = new Map<string, Millis>()
  const store = batcher<readonly Heard[], undefined>({
    maxSize: 256,
    run: async (batches) => {
      const lines = batches.flat()
      const pairs = [...new Map(lines.map((line) => [pairOf(line), line])).values()]
      const attempts = await loggedAttempts(db, pairs)
      const mayWrite = await judging(needs, lines, attempts)
      const { requests, dropped } = sorted(lines, attempts, (address) => ahead.get(address) ?? 0, mayWrite)
      drop(dropped)
      await Promise.all([...requests.values()].map(({ appId, ...input }) => logs.append(appId, input)))
      return batches.map(() => undefined)
    },
  })
  let waiting = 0
  let gathering: Promise<void> | undefined
  /** Ends for all who came within the same moment at once: then they are stored, and sorted, together. */
  const gathered = (): Promise<void> =>
    (gathering ??= clock.sleep(gatherMs).then(() => {
      gathering = undefined
    }))
  return {
    report: async (message, origin) => {
      const { lines, dropped } = readLines(message)
      drop(dropped)
      if (lines.length === 0) return
      if (waiting >= mostWaiting) return drop(lines.length)
      waiting += 1
      try {
        await gathered()
        await store(lines.map((line) => ({ ...line, origin })))
      } finally {
        waiting -= 1
      }
    },
    noteClock: (address, workerMs) => {
      if (ahead.size >= mostClocks) ahead.clear()
      ahead.set(address, workerMs - clock.now())
    },
    duty: duty({
      name: 'java-logs',
      clock,
      log,
      everyMs: 30_000,
      runOnce: async () => void (await rollLongLogs(db, defaultLogsOptions)),
    }),
  }
}
