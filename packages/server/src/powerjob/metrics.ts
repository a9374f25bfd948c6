// What is counted of this wire.
import { Counter, type Registry } from 'prom-client'
import type { ResendKind } from './resends-api.ts'

/**
 * What became of a call. `ok`: executed; `refused`: success false; `rejected`: for its token; `replayed`: same Idempotency-Key;
 * `collapsed`: recognised as sent again; `abandoned`: the client was gone; `unknown-path`; `failed`: an outage or a bug.
 */
export type Outcome = 'ok' | 'refused' | 'rejected' | 'replayed' | 'collapsed' | 'abandoned' | 'unknown-path' | 'failed'

export const createWireMetrics = (registry: Registry) => {
  const calls = new Counter({
    name: 'openapi_calls_total',
    help: "Calls of PowerJob's clients, by path and what became of them.",
    labelNames: ['path', 'outcome'],
    registers: [registry],
  })
  const resends = new Counter({
    name: 'legacy_resend_total',
    help: "Calls of PowerJob's clients that were recognised as sent again and not executed a second time, by app and evidence.",
    labelNames: ['app', 'kind'],
    registers: [registry],
  })
  const suspects = new Counter({
    name: 'legacy_resend_suspected_total',
    help: "Calls of PowerJob's clients that looked like sent again and were executed all the same, since the app has collapse off.",
    labelNames: ['app', 'kind'],
    registers: [registry],
  })
  return {
    called: (path: string, outcome: Outcome): void => calls.inc({ path, outcome }),
    resent: (app: string, kind: ResendKind): void => resends.inc({ app, kind }),
    suspected: (app: string, kind: ResendKind): void => suspects.inc({ app, kind }),
  }
}

export type WireMetrics = ReturnType<typeof createWireMetrics>
