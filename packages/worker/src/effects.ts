// The effects of one attempt: asks the ledger before each, runs what is new, records what came of it.
import type { Guarantee } from '@oncejob/protocol'
import type { EffectLedger, Hand } from './effect-ledger.ts'
import { EffectUnknown, LeaseLost, ServerRefused, TerminalError, type AbortReason } from './errors.ts'
import { transact, type PgClient, type PgPool } from './transaction.ts'

/** What to do about an effect that an earlier attempt began without saying how it ended. */
export interface OnceOptions<T> {
  /**
   * `run-again`: run `fn` again, so it runs at least once. `ask`: end the attempt with the code EFFECT_UNKNOWN, so it runs
   * at most once; the run waits for someone who says whether it happened. `resolve`: find out by calling it.
   * Default: `resolve` when that is given; else by the job's guarantee, `run-again` for at-least-once, `ask` for at-most-once.
   */
  readonly onUnknown?: 'run-again' | 'ask' | 'resolve'
  /** Looks whether the effect happened: its outcome if it did, 'not-done' if it certainly did not; then `fn` runs. */
  readonly resolve?: () => Promise<{ readonly outcome: T } | 'not-done'>
}

export interface EffectsNeeds {
  readonly hand: Hand
  readonly ledger: EffectLedger
  readonly guarantee: Guarantee
  /** Why the attempt was aborted, once it was. */
  readonly reason: () => AbortReason | undefined
  /** Called when it is certain that another attempt has the run. */
  readonly onLost: (lost: LeaseLost) => void
}

const longestName = 255

const checkName = (name: string): void => {
  const fits = typeof name === 'string' && name.length <= longestName && /\S/.test(name)
  if (!fits || name.includes('\u0000') || !name.isWellFormed())
    throw new TypeError(`An effect needs a name of 1 to ${longestName} characters that is not blank`)
}

/** The value as it looks after a way through JSON, so that the first attempt gets what later ones will get. */
const throughJson = (name: string, value: unknown): { readonly text: string | undefined; readonly value: unknown } => {
  try {
    // undefined for what JSON has no words for, whatever its type says
    const text: string | undefined = JSON.stringify(value)
    return { text, value: text === undefined ? undefined : JSON.parse(text) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const message = `JSON can not express the outcome of the effect "${name}": ${why}`
    throw new TerminalError(message, { code: 'EFFECT_OUTCOME_INVALID', cause: error })
  }
}

/** The server can not keep the outcome; another attempt would have the same one. */
const blamesTheOutcome = (error: unknown): boolean =>
  error instanceof ServerRefused && [400, 413, 415, 422].includes(error.status)

export class Effects {
  readonly #needs: EffectsNeeds
  readonly #underWay = new Set<string>()
  /** Whose `fn` this attempt has called without an outcome: it threw, so nobody knows how far it came. */
  readonly #begun = new Set<string>()

  constructor(needs: EffectsNeeds) {
    this.#needs = needs
  }

  /** See RunContext.once. */
  once<T>(name: string, fn: () => Promise<T> | T, options: OnceOptions<T> = {}): Promise<T> {
    return this.#alone(`once ${name}`, name, async () => {
      const outcome = await this.#once(name, fn, options)
      // oxlint-disable-next-line typescript/consistent-type-assertions -- what some `fn` of this name returned, through JSON: the caller promises its type
      return outcome as T
    })
  }

  /** See RunContext.transaction. */
  transaction<T, Client extends PgClient>(
    pool: PgPool<Client>,
    name: string,
    work: (tx: Client) => Promise<T>,
  ): Promise<T> {
    return this.#alone(`transaction ${name}`, name, async () => {
      this.#checkTrust()
      const done = await transact(pool, { ...this.#needs.hand, name }, async (tx) => {
        const value = await work(tx)
        return throughJson(name, value).text
      })
      if (done.kind === 'lost') throw this.#lost()
      const output: unknown = done.output === undefined ? undefined : JSON.parse(done.output)
      // oxlint-disable-next-line typescript/consistent-type-assertions -- what some `work` of this name returned, through JSON: the caller promises its type
      return output as T
    })
  }

  /** Two at once under one name are a mistake: a name stands for one effect. */
  async #alone<T>(key: string, name: string, act: () => Promise<T>): Promise<T> {
    checkName(name)
    if (this.#underWay.has(key)) throw new TypeError(`The effect "${name}" is already under way in this attempt`)
    this.#underWay.add(key)
    try {
      return await act()
    } finally {
      this.#underWay.delete(key)
    }
  }

  async #once<T>(name: string, fn: () => Promise<T> | T, options: OnceOptions<T>): Promise<unknown> {
    const { resolve } = options
    const byGuarantee = this.#needs.guarantee === 'at-most-once' ? 'ask' : 'run-again'
    const onUnknown = options.onUnknown ?? (resolve === undefined ? byGuarantee : 'resolve')
    if (onUnknown === 'resolve' && resolve === undefined)
      throw new TypeError("onUnknown: 'resolve' needs a function resolve")
    this.#checkTrust()
    const begun = await this.#begin(name)
    if (begun.state === 'done') return begun.outcome
    // the ledger may have had the answer just before the lease was lost
    this.#checkTrust()
    if (begun.state === 'unknown' || this.#begun.has(name)) {
      if (onUnknown === 'ask') throw new EffectUnknown(name)
      if (onUnknown === 'resolve' && resolve !== undefined) {
        const found = await resolve()
        if (found !== 'not-done') return this.#end(name, found.outcome)
        this.#checkTrust()
      }
    }
    this.#begun.add(name)
    return this.#end(name, await fn())
  }

  async #begin(name: string): ReturnType<EffectLedger['begin']> {
    const { ledger, hand, reason } = this.#needs
    try {
      return await ledger.begin(hand, name, reason)
    } catch (error) {
      // translated
      throw this.#translated(error)
    }
  }

  /** Tries to record the outcome even after a stop or a time-out: what is not recorded is unknown to the next attempt. */
  async #end(name: string, value: unknown): Promise<unknown> {
    const { ledger, hand, reason } = this.#needs
    const outcome = throughJson(name, value).value
    try {
      const ended = await ledger.end(hand, name, outcome, reason)
      this.#begun.delete(name)
      return ended.outcome
    } catch (error) {
      // translated
      if (!blamesTheOutcome(error)) throw this.#translated(error)
      const why = error instanceof Error ? error.message : String(error)
      const message = `The effect "${name}" happened, but the server did not take its outcome: ${why}`
      throw new TerminalError(message, { code: 'EFFECT_OUTCOME_INVALID', cause: error })
    }
  }

  #checkTrust(): void {
    const reason = this.#needs.reason()
    if (reason instanceof LeaseLost) throw reason
  }

  #translated(error: unknown): unknown {
    return error instanceof ServerRefused && error.code === 'LEASE_LOST' ? this.#lost() : error
  }

  #lost(): LeaseLost {
    const lost = new LeaseLost('lost')
    this.#needs.onLost(lost)
    return lost
  }
}
