// The effect ledger as its callers see it: every answer may be lost and asked for again, and says the same (I4).
import { Refusal } from '@oncejob/protocol'
import type { Db } from '../storage/db.ts'
import { completeEffect, findEffect, insertIntent, type EffectKey } from '../storage/effects.ts'

/** `new`: go ahead. `done`: it was done, with this outcome (JSON text). `unknown`: begun by an earlier lease, no more is known. */
export type Begun = { readonly state: 'new' | 'unknown' } | { readonly state: 'done'; readonly outcome: string | null }

export interface Effects {
  /**
   * Notes that this lease begins an effect. An intent of an earlier lease stays as it is until somebody records an outcome.
   * @throws Refusal LEASE_LOST
   */
  begin(key: EffectKey): Promise<Begun>
  /**
   * Records the outcome (JSON text) of an effect that was begun, by this lease or an earlier one.
   * @returns the outcome that is recorded: of a repeat, the first one
   * @throws Refusal LEASE_LOST, EFFECT_NOT_BEGUN, EFFECT_OUTCOME_TOO_LARGE
   */
  end(key: EffectKey, outcome: string | null): Promise<string | null>
}

interface Needs {
  readonly db: Db
  /** An outcome has at most so many bytes. */
  readonly maxResultBytes: number
}

const lost = ({ runId, lease }: EffectKey): Refusal =>
  new Refusal(
    'LEASE_LOST',
    `Lease ${lease} is not the current one of run ${runId}: stop, another attempt may be running.`,
  )

/** Creates the ledger. */
export const createEffects = ({ db, maxResultBytes }: Needs): Effects => ({
  begin: async (key) => {
    if (await insertIntent(db, key)) return { state: 'new' }
    const found = await findEffect(db, key)
    if (!found.held) throw lost(key)
    if (found.state === 'done') return { state: 'done', outcome: found.outcome }
    // an intent of this very lease: the answer to the first call was lost
    return { state: found.lease === key.lease ? 'new' : 'unknown' }
  },
  end: async (key, outcome) => {
    const bytes = outcome === null ? 0 : Buffer.byteLength(outcome)
    if (bytes > maxResultBytes)
      throw new Refusal(
        'EFFECT_OUTCOME_TOO_LARGE',
        `The outcome of "${key.name}" has ${bytes} bytes as JSON, and at most ${maxResultBytes} are kept: return less, for example a reference.`,
      )
    if (await completeEffect(db, key, outcome)) return outcome
    const found = await findEffect(db, key)
    if (!found.held) throw lost(key)
    if (found.state === 'done') return found.outcome
    throw new Refusal('EFFECT_NOT_BEGUN', `Run ${key.runId} has begun no effect "${key.name}": begin it first.`)
  },
})
