// One call on its way: its token, its path, whether it repeats another one, and its execution.
import type { Log } from '../../kernel/log.ts'
import type { TouchedToken } from '../../storage/resends.ts'
import type { LegacyAttempt, LegacyCall, LegacyOutcome, Resends } from '../resends-api.ts'
import type { AttemptHere, Here } from './here.ts'
import { matchOf, pathKeyOf } from './identity.ts'
import type { Ledger } from './ledger.ts'
import type { Execute, Performer } from './perform.ts'
import type { Asked, Plan, Plans } from './plan.ts'
import type { TokenUses } from './token-uses.ts'

interface Needs {
  readonly log: Log
  /** Whether other servers live, or did a moment ago. */
  readonly others: () => boolean
  readonly ledger: Ledger
  readonly tokens: TokenUses
  readonly here: Here
  readonly plans: Plans
  readonly performer: Performer
}

const unkept: LegacyAttempt = { id: null, key: null }

export const createRun = ({ log, others, ledger, tokens, here, plans, performer }: Needs): Resends['run'] => {
  /** What the bookkeeping says, or `instead` when it fails: a call that could be done is done (N3). */
  const unlessItFails = async <T>(call: LegacyCall, ask: () => Promise<T>, instead: T): Promise<T> => {
    try {
      return await ask()
    } catch (error) {
      // doubt executes
      log.warn({ err: error, requestId: call.requestId, path: call.path }, 'evidence of a call not read')
      return instead
    }
  }

  const planOf = async (
    asked: Asked,
    { first, issuedAtMs }: TouchedToken,
    lost: AttemptHere | undefined,
  ): Promise<Plan> => {
    const { call, doubled, facts } = asked
    const bare = { id: facts.id, under: null, row: false, doubled, begun: { first, forced: false }, repeats: null }
    const make = async (): Promise<Plan> => {
      if (doubled && first && call.jti !== null) return plans.first(asked, call.jti, issuedAtMs)
      return doubled || others() || lost?.row === true ? plans.row(asked, lost) : bare
    }
    return unlessItFails(call, make, bare)
  }

  const runMutating = async (
    call: LegacyCall,
    pathKey: string,
    use: TouchedToken,
    execute: Execute,
  ): Promise<LegacyOutcome> => {
    const match = matchOf(call)
    const { jti, appId, fingerprint } = call
    const { first, doubled } = use
    const id = await unlessItFails(call, ledger.nextId, undefined)
    if (id === undefined) return { answer: await execute(unkept), collapsed: null }
    const taken = first ? undefined : await here.take(match)
    const suspected = taken !== undefined && call.collapse === 'off' ? 'undelivered' : undefined
    const lost = suspected === undefined ? taken : undefined
    if (lost?.row === false) {
      const outcome = await performer.repeat({ call, match, id }, lost)
      if (outcome !== undefined) return outcome
    }
    const facts = { id, appId, pathKey: doubled ? pathKey : null, fingerprint, jti, match }
    const plan = await planOf({ call, facts, pathKey, doubled }, use, lost)
    return performer.perform(match, suspected === undefined ? plan : { ...plan, suspected }, execute)
  }

  return async (call, execute) => {
    const { route, jti, appId, fingerprint, mutates } = call
    const pathKey = pathKeyOf(route)
    const use = await unlessItFails(call, () => tokens.use(jti, pathKey), {
      first: false,
      issuedAtMs: 0,
      doubled: tokens.isDoubled(pathKey),
    })
    if (mutates && !call.keyed) return runMutating(call, pathKey, use, execute)
    if (use.first && use.doubled) {
      const note = async (): Promise<void> =>
        ledger.readFirst({ id: await ledger.nextId(), appId, pathKey, fingerprint, jti, match: '' })
      await unlessItFails(call, note, undefined)
    }
    return { answer: await execute(unkept), collapsed: null }
  }
}
