// Executes a call as planned, notes how it ended before the answer goes out, and hands out answers that were lost.
import { within, type Clock, type Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { attemptKey } from '../../storage/resends.ts'
import { WireError } from '../call.ts'
import { failure } from '../envelope.ts'
import type { LegacyAnswer, LegacyAttempt, LegacyCall, LegacyOutcome } from '../resends-api.ts'
import { owes } from './first-use.ts'
import type { AttemptHere, Here } from './here.ts'
import type { Ledger } from './ledger.ts'
import type { Plan } from './plan.ts'

export type Execute = (attempt: LegacyAttempt) => Promise<LegacyAnswer>

/** How long a repeat waits for an execution that is under way; its client gives up after 2 s. */
const patienceMs: Millis = 1_500

const stillExecuting: LegacyAnswer = {
  outcome: 'refused',
  body: failure(
    new WireError(
      'PowerJobException',
      'this call was sent before and is still being executed; look before you send it again',
    ),
  ),
}

interface Needs {
  readonly clock: Clock
  readonly log: Log
  readonly here: Here
  readonly ledger: Ledger
}

export const createPerformer = ({ clock, log, here, ledger }: Needs) => {
  const perform = async (match: string, plan: Plan, execute: Execute): Promise<LegacyOutcome> => {
    const { id, under, row, doubled, begun, repeats, suspected } = plan
    here.begin({ id, match, row })
    const fail = async (how: 'refused' | 'broken'): Promise<void> => {
      here.end(id, undefined)
      if (row && doubled) await ledger.failed(id, how, owes(begun, how))
    }
    let answer: LegacyAnswer
    try {
      answer = await execute({ id, key: under === null ? null : attemptKey(under) })
    } catch (error) {
      // noted, then rethrown
      await fail('broken')
      throw error
    }
    if (answer.outcome === 'refused') await fail('refused')
    else here.end(id, answer.outcome === 'done' ? answer : undefined)
    if (answer.outcome === 'done' && row) {
      // before and not after the answer: a server that dies in between leaves doubt, and doubt executes
      await ledger
        .answered(id)
        .catch((error: unknown) => log.warn({ err: error, attempt: id }, 'beginning of an answer not noted'))
    }
    const collapsed = answer.replayed === true ? repeats : null
    return { answer, collapsed, ...(suspected === undefined ? {} : { suspected }) }
  }

  return {
    perform,
    /**
     * The answer of a keyless attempt of this server that was lost, as soon as there is one.
     * @param id number of the repeat, whose answer may be lost as well
     * @returns undefined: the attempt came to nothing, and there is nothing to repeat
     */
    repeat: async (
      { call, match, id }: { readonly call: LegacyCall; readonly match: string; readonly id: number },
      earlier: AttemptHere,
    ): Promise<LegacyOutcome | undefined> => {
      here.begin({ id, match, row: false })
      call.follow(id)
      const ended = await within(clock, patienceMs, earlier.ended)
      const answer = earlier.answer()
      here.end(id, answer)
      const collapsed = { into: earlier.id, kind: 'undelivered' } as const
      if (answer !== undefined) return { answer, collapsed }
      return ended ? undefined : { answer: stillExecuting, collapsed }
    },
  }
}

export type Performer = ReturnType<typeof createPerformer>
