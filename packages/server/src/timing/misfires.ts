// Lists the occurrences that a schedule is late for, without ever listing too many.
import { nextFire, type Timing } from './timing.ts'

/** The most occurrences that are looked at one by one in a call. */
export const mostWalked = 200_000

/** The most late occurrences that may fire, whatever a schedule allows. */
export const mostLateRuns = 100_000

/** Occurrences in order of time; those of a fixed rate are computed, not stored. */
export interface Occurrences {
  readonly count: number
  /** Time of the i-th, 0 <= i < count, in ms. */
  at(index: number): number
  /** When too many: nothing strictly between these two instants was looked at, nor counted. */
  readonly skipped: { readonly afterMs: number; readonly beforeMs: number } | undefined
}

interface Query {
  readonly timing: Timing
  readonly anchorMs: number
  /** The first occurrence. */
  readonly dueAtMs: number
  /** The last instant that counts, in ms. */
  readonly untilMs: number
  /** How many of the latest must be listed, whatever is skipped before them. */
  readonly latest: number
}

const fromList = (times: readonly number[], skipped?: Occurrences['skipped']): Occurrences => ({
  count: times.length,
  at: (index) => times[index] ?? Number.NaN,
  skipped,
})

const none = fromList([])

const walk = (query: Query, afterMs: number, most: number): number[] => {
  const times: number[] = []
  let next = nextFire(query.timing, afterMs, query)
  while (next !== undefined && next <= query.untilMs && times.length < most) {
    times.push(next)
    next = nextFire(query.timing, next, query)
  }
  return times
}

/**
 * At least the `latest` last occurrences after `afterMs` (all, when there are fewer): looks back
 * twice as far until there are enough, then halves the way when there are far too many.
 */
const tailOf = (query: Query, afterMs: number): number[] => {
  const enough = query.latest
  let fewFromMs = query.untilMs
  let manyFromMs: number | undefined
  for (let backMs = 1_000; ; backMs *= 2) {
    const fromMs: number =
      manyFromMs === undefined ? Math.max(afterMs, query.untilMs - backMs) : Math.floor((manyFromMs + fewFromMs) / 2)
    const times = walk(query, fromMs, 2 * enough + 1)
    if (times.length > 2 * enough) manyFromMs = fromMs
    else if (times.length >= enough || fromMs === afterMs) return times
    else fewFromMs = fromMs
  }
}

const fixedRate = (query: Query, everyMs: number): Occurrences => {
  const secondMs = nextFire(query.timing, query.dueAtMs, query)
  const lastMs = Math.min(query.untilMs, query.timing.spec.endAtMs ?? query.untilMs)
  const following = secondMs === undefined || secondMs > lastMs ? 0 : Math.floor((lastMs - secondMs) / everyMs) + 1
  return {
    count: 1 + following,
    // the first one may lie beside the grid, when the schedule was changed
    at: (index) => (index === 0 ? query.dueAtMs : (secondMs ?? 0) + (index - 1) * everyMs),
    skipped: undefined,
  }
}

/** The occurrences from `dueAtMs` to `untilMs`, both included. */
export const occurrencesOf = (query: Query): Occurrences => {
  const { timing, dueAtMs, untilMs } = query
  if (dueAtMs > untilMs) return none
  switch (timing.rule.kind) {
    case 'none':
    case 'once':
    case 'fixed-delay':
      return fromList([dueAtMs])
    case 'fixed-rate':
      return fixedRate(query, timing.rule.everyMs)
    case 'calendar': {
      const times = [dueAtMs, ...walk(query, dueAtMs, mostWalked - 1)]
      const lastMs = times.at(-1) ?? dueAtMs
      if (times.length < mostWalked) return fromList(times)
      const tail = tailOf(query, lastMs)
      const [firstOfTailMs] = tail
      if (firstOfTailMs === undefined) return fromList(times)
      const adjoins = nextFire(timing, lastMs, query) === firstOfTailMs
      for (const atMs of tail) times.push(atMs)
      return fromList(times, adjoins ? undefined : { afterMs: lastMs, beforeMs: firstOfTailMs })
    }
  }
}
