// The effect ledger over HTTP: a worker says what an attempt is about to do, and what came of it.
import { EffectBeginInput, EffectBegun, EffectEndInput, EffectEnded } from '@oncejob/protocol'
import type { Effects } from '../../dispatch/effects.ts'
import { appIdOf, type RoutePlugin } from '../types.ts'

const tags = ['Worker protocol']

/** A done effect that returned nothing has no outcome at all. */
const outcomeOf = (text: string | null): { outcome?: unknown } => (text === null ? {} : { outcome: JSON.parse(text) })

export const effectRoutes =
  (effects: Effects): RoutePlugin =>
  (app) => {
    app.post(
      '/api/v1/worker/effects/begin',
      {
        // run and name are the identity of an effect: no key is needed
        config: { access: 'app', hot: true, keyed: 'none', problems: ['LEASE_LOST'] },
        schema: {
          summary: 'Begin an effect, or hear that it was done',
          description:
            'May be repeated with the same lease. An effect that an earlier attempt began stays unknown until it is ended.',
          tags,
          body: EffectBeginInput,
          response: { 200: EffectBegun },
        },
      },
      async (request) => {
        const begun = await effects.begin({ appId: appIdOf(request), ...request.body })
        return begun.state === 'done' ? { state: begun.state, ...outcomeOf(begun.outcome) } : begun
      },
    )
    app.post(
      '/api/v1/worker/effects/end',
      {
        config: {
          access: 'app',
          hot: true,
          keyed: 'none',
          problems: ['LEASE_LOST', 'EFFECT_NOT_BEGUN', 'EFFECT_OUTCOME_TOO_LARGE'],
        },
        schema: {
          summary: 'Record the outcome of an effect',
          description: 'May be repeated: the first outcome counts, and is the answer.',
          tags,
          body: EffectEndInput,
          response: { 200: EffectEnded },
        },
      },
      async (request) => {
        const { outcome, ...effect } = request.body
        const text = outcome === undefined ? null : JSON.stringify(outcome)
        return outcomeOf(await effects.end({ appId: appIdOf(request), ...effect }, text))
      },
    )
  }
