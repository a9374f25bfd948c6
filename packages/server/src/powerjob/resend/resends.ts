// Calls that PowerJob clients send again without being asked to are recognised by evidence, never by time (contract 3b).
//
// A repeat is executed under the request key of the attempt that it repeats. So the key decides, on whichever server and
// however far that attempt is: it takes effect once, and its answer is handed out. All that is told here is which call repeats which:
//   first use     its client has thrown the earlier answer away; see first-use.ts
//   undelivered   the connection of the earlier one was lost before its answer left, or its server has died; see here.ts, elsewhere.ts
// What costs: on a path without thrown-away answers, a call with a known token asks nobody; with several servers it has a row.
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Random } from '../../kernel/random.ts'
import type { Service } from '../../kernel/service.ts'
import type { Db } from '../../storage/db.ts'
import { issueToken } from '../../storage/resends.ts'
import type { Resends } from '../resends-api.ts'
import { createElsewhere } from './elsewhere.ts'
import { createHere } from './here.ts'
import { pathKeyOf } from './identity.ts'
import { createLedger } from './ledger.ts'
import { createPerformer } from './perform.ts'
import { createPlans } from './plan.ts'
import { createRun } from './run.ts'
import { createResendSweeper } from './sweeper.ts'
import { createTokenUses } from './token-uses.ts'
import { createProxyWarning } from './warnings.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Whether other servers live, or did a moment ago. */
  readonly others: () => boolean
}

/** A constructor takes no longer from its first token to its second. */
const constructorMs: Millis = 5_000

export interface ResendService {
  readonly resends: Resends
  /** In the order in which they start. */
  readonly services: readonly Service[]
}

/** Creates the recognition of one server. */
export const createResends = (needs: Needs): ResendService => {
  const { db, clock, log, others } = needs
  const ledger = createLedger(needs)
  const tokens = createTokenUses(db)
  const here = createHere(clock)
  const warn = createProxyWarning(needs)
  const plans = createPlans({ ledger, elsewhere: createElsewhere(needs), warn })
  const performer = createPerformer({ clock, log, here, ledger })

  const resends: Resends = {
    onIssued: async (route, jti, presentedJti) => {
      const pathKey = pathKeyOf(route)
      const token = { jti, pathKey, appId: route.appId, presented: presentedJti, withinMs: constructorMs }
      const { doubled, seenNow } = await issueToken(db, token)
      if (doubled) tokens.noteDoubled(pathKey)
      if (seenNow) await warn(route, pathKey)
    },
    onRejected: (route, fingerprint) =>
      ledger.rejected({ appId: route.appId, pathKey: pathKeyOf(route), fingerprint, jti: null, match: '' }),
    run: createRun({ log, others, ledger, tokens, here, plans, performer }),
    delivered: here.delivered,
    undelivered: (id) => {
      if (!here.lost(id)) return
      void ledger
        .undelivered(id)
        .catch((error: unknown) => log.warn({ err: error, attempt: id }, 'lost answer not noted'))
    },
  }
  const sign: Service = { name: 'sign of life', start: ledger.start, stop: ledger.stop }
  return { resends, services: [sign, createResendSweeper({ db, clock, log, ledger, tokens })] }
}
