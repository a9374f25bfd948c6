// How a call with effects is to be executed: under which key, as the repeat of which attempt.
import type { LegacyCall, LegacyOutcome, ResendKind } from '../resends-api.ts'
import type { Elsewhere } from './elsewhere.ts'
import type { Begun } from './first-use.ts'
import type { AttemptHere } from './here.ts'
import type { AttemptFacts, Ledger } from './ledger.ts'
import type { ProxyWarning } from './warnings.ts'

export interface Plan {
  readonly id: number
  /** The attempt under whose key; null: without a key. */
  readonly under: number | null
  /** It has a row. */
  readonly row: boolean
  /** On a path on which answers are thrown away. */
  readonly doubled: boolean
  readonly begun: Begun
  readonly repeats: LegacyOutcome['collapsed']
  /** It would repeat an earlier one, if the app had not switched that off. */
  readonly suspected?: ResendKind | undefined
}

/** A call, and what is known of it. */
export interface Asked {
  readonly call: LegacyCall
  readonly facts: AttemptFacts
  readonly pathKey: string
  readonly doubled: boolean
}

/** A call that was not the first use of its token. */
export const original: Begun = { first: false, forced: false }

interface Needs {
  readonly ledger: Ledger
  readonly elsewhere: Elsewhere
  readonly warn: ProxyWarning
}

/** Creates the plans of calls that get a row. */
export const createPlans = ({ ledger, elsewhere, warn }: Needs) => ({
  /** The first use of a token on a path on which answers are thrown away. */
  first: async ({ call, facts, pathKey }: Asked, jti: string, issuedAtMs: number): Promise<Plan> => {
    const { id } = facts
    const mayCollapse = call.collapse === 'evidence'
    const decision = await ledger.decide({ facts: { ...facts, pathKey, jti }, issuedAtMs, mayCollapse })
    await warn(call.route, pathKey)
    const plan = { id, row: true, doubled: true } as const
    if (decision.kind === 'collapse') {
      const repeats = { into: decision.into, kind: 'first-use' } as const
      return { ...plan, under: decision.into, begun: { first: true, forced: false }, repeats }
    }
    const suspected = decision.suspected && call.collapse === 'off' ? 'first-use' : undefined
    return { ...plan, under: id, begun: { first: true, forced: decision.forced }, repeats: null, suspected }
  },
  /** Any other call: it may repeat one of this server whose answer was `lost`, or one of another server. */
  row: async ({ call, facts, pathKey, doubled }: Asked, lost: AttemptHere | undefined): Promise<Plan> => {
    const { id } = facts
    const earlier = await ledger.open(facts)
    const plan = { id, row: true, doubled, begun: original } as const
    const under = lost?.row === true ? await ledger.repeat(lost.id, id) : undefined
    if (lost !== undefined && under !== undefined)
      return { ...plan, under, repeats: { into: lost.id, kind: 'undelivered' } }
    const repeated = earlier.length === 0 || call.collapse === 'off' ? undefined : await elsewhere(earlier, id, pathKey)
    if (repeated === undefined) return { ...plan, under: id, repeats: null }
    return { ...plan, under: repeated.under, repeats: { into: repeated.id, kind: 'undelivered' } }
  },
})

export type Plans = ReturnType<typeof createPlans>
