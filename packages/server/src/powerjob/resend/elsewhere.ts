// The undelivered rule across servers: attempts of others whose connection was lost, or whose server has died.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Db } from '../../storage/db.ts'
import { repeatAttempt, standingOf, type Standing } from '../../storage/resends.ts'
import { suspiciousMs, wordMs } from './here.ts'

/** When to look again: the system of a process that was killed takes some ms to give its lock back, a busy server to tell of a loss. */
const newsMs: readonly Millis[] = [5, 15, 30, 50, 100]
/** And when for one that is under way for suspiciously long. */
const suspectMs: readonly Millis[] = [wordMs, 2 * wordMs]
/** After so many waits in vain on a path (its clients use several servers at once) nobody waits there for a while. */
const vainMax = 3
const vainMs: Millis = 60_000
const pathsMax = 10_000

export interface Repeated {
  /** The attempt that is repeated, and the one under whose key that is done. */
  readonly id: number
  readonly under: number
}

/** Creates the look at attempts of other servers. */
export const createElsewhere = ({ db, clock }: { readonly db: Db; readonly clock: Clock }) => {
  const vain = new Map<string, { count: number; sinceMs: Millis }>()

  const noteVain = (pathKey: string): void => {
    const known = vain.get(pathKey)
    if (known !== undefined && clock.monotonic() - known.sinceMs < vainMs) known.count += 1
    else vain.set(pathKey, { count: 1, sinceMs: clock.monotonic() })
    if (vain.size > pathsMax) vain.clear()
  }
  const isVain = (pathKey: string): boolean => {
    const known = vain.get(pathKey)
    return known !== undefined && known.count >= vainMax && clock.monotonic() - known.sinceMs < vainMs
  }
  /** How long to wait, again and again, for news of attempts that seem to be under way. */
  const patience = (standing: readonly Standing[], pathKey: string): readonly Millis[] => {
    if (standing.some(({ ageMs }) => ageMs >= suspiciousMs)) return suspectMs
    return isVain(pathKey) ? [] : newsMs
  }
  const take = async (standing: readonly Standing[], id: number): Promise<Repeated | undefined> => {
    for (const one of standing) {
      if (!one.undelivered) continue
      const under = await repeatAttempt(db, one.id, id)
      if (under !== undefined) return { id: one.id, under }
    }
    return undefined
  }

  /** Makes attempt `id` the repeat of one of `earlier` whose answer is lost; undefined when none is. */
  return async (earlier: readonly number[], id: number, pathKey: string): Promise<Repeated | undefined> => {
    let standing = await standingOf(db, earlier)
    let taken = await take(standing, id)
    const waits = patience(standing, pathKey)
    for (const ms of waits) {
      if (taken !== undefined || standing.length === 0) return taken
      await clock.sleep(ms)
      standing = await standingOf(db, earlier)
      taken = await take(standing, id)
    }
    if (taken === undefined && waits === newsMs) noteVain(pathKey)
    return taken
  }
}

export type Elsewhere = ReturnType<typeof createElsewhere>
