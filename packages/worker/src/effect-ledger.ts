// The server's effect ledger over HTTP: asks until it is answered, or until the attempt is certainly over.
import type { EffectBegun, EffectEnded } from '@oncejob/protocol'
import { backoffMs, type Clock, type Random } from './clock.ts'
import { LeaseLost, Outage, type AbortReason } from './errors.ts'
import { isRecord } from './json.ts'
import type { Servers } from './servers.ts'

/** The attempt that asks. */
export interface Hand {
  readonly runId: number
  readonly lease: number
}

type Reason = () => AbortReason | undefined

/**
 * Both calls may be repeated, and are while no server answers.
 * @throws LeaseLost when the attempt lost its lease meanwhile, ServerRefused when a server says no
 */
export interface EffectLedger {
  /** Says that an effect is about to begin, or hears that it was done. Gives up as soon as the lease is not trusted. */
  begin(hand: Hand, name: string, reason: Reason): Promise<EffectBegun>
  /** Records an outcome (JSON); the answer is what is recorded. A lease that only lapsed may still be the current one. */
  end(hand: Hand, name: string, outcome: unknown, reason: Reason): Promise<EffectEnded>
}

interface LedgerNeeds {
  readonly servers: Pick<Servers, 'call' | 'count'>
  readonly clock: Clock
  readonly random: Random
}

const timeoutMs = 10_000

const isBegun = (body: unknown): body is EffectBegun =>
  isRecord(body) && (body['state'] === 'new' || body['state'] === 'done' || body['state'] === 'unknown')

const isEnded = (body: unknown): body is EffectEnded => isRecord(body)

export class HttpLedger implements EffectLedger {
  readonly #needs: LedgerNeeds
  readonly #closed = new AbortController()

  constructor(needs: LedgerNeeds) {
    this.#needs = needs
  }

  begin(hand: Hand, name: string, reason: Reason): Promise<EffectBegun> {
    const { runId, lease } = hand
    return this.#ask('/effects/begin', { runId, lease, name }, isBegun, () => {
      const why = reason()
      return why instanceof LeaseLost ? why : undefined
    })
  }

  end(hand: Hand, name: string, outcome: unknown, reason: Reason): Promise<EffectEnded> {
    const { runId, lease } = hand
    return this.#ask('/effects/end', { runId, lease, name, outcome }, isEnded, () => {
      const why = reason()
      return why instanceof LeaseLost && why.how !== 'lapsed' ? why : undefined
    })
  }

  /** Nothing is asked any more: the worker is gone. */
  close(): void {
    this.#closed.abort()
  }

  async #ask<A>(
    path: string,
    question: unknown,
    fits: (body: unknown) => body is A,
    isOver: () => LeaseLost | undefined,
  ): Promise<A> {
    const { servers, clock, random } = this.#needs
    const { signal } = this.#closed
    const body = JSON.stringify(question)
    for (let failures = 1; ; failures += 1) {
      try {
        const answer = await servers.call({ method: 'POST', path, body, timeoutMs, signal })
        if (fits(answer)) return answer
        throw new Outage('the answer about an effect was unreadable', 0)
      } catch (error) {
        // bounded by the lease, and by the life of the worker
        if (!(error instanceof Outage) || signal.aborted) throw error
      }
      const over = isOver()
      if (over !== undefined) throw over
      await clock.sleep(failures < servers.count ? 0 : backoffMs(failures, random), signal)
    }
  }
}
