// Servers that recognise re-sent calls, on one database, with effects that a test can count.
import { systemClock, type Clock } from '../../kernel/clock.ts'
import { silentLog, type Log } from '../../kernel/log.ts'
import { systemRandom } from '../../kernel/random.ts'
import { createRequestKeys } from '../../requests/keys.ts'
import type { Db, Queries } from '../../storage/db.ts'
import { sql } from '../../storage/sql.ts'
import { createResends } from '../resend/resends.ts'
import type { LegacyAnswer, LegacyAttempt, LegacyCall, PathFacts } from '../resends-api.ts'

export const route: PathFacts = {
  appId: 7,
  peer: '10.0.0.9',
  localPort: 7700,
  httpVersion: '1.1',
  host: 'jobs.example',
  via: '',
}

export interface EffectPlan {
  /** Waits before the effect. */
  readonly gate?: Promise<unknown>
  /** Waits after its commit, before the answer. */
  readonly after?: Promise<unknown>
  readonly fate?: 'done' | 'refused' | 'broken'
}

/** The table that effects are written to; it has no unique constraint. */
export const prepareEffects = async (db: Db): Promise<void> => {
  await db.query(sql`create table if not exists test_effect (id bigint generated always as identity, body text)`)
}

export const effectsOf = async (db: Db, body: string): Promise<number> => {
  const [row] = await db.query<{ n: number }>(sql`select count(*) as n from test_effect where body = ${body}`)
  return row?.n ?? 0
}

export type ResendServer = Awaited<ReturnType<typeof startResends>>

/** Starts one server. */
export const startResends = async (
  db: Db,
  options: { readonly others?: boolean; readonly clock?: Clock; readonly log?: Log; readonly sweep?: boolean } = {},
) => {
  const clock = options.clock ?? systemClock
  const log = options.log ?? silentLog
  const { resends, services } = createResends({
    db,
    clock,
    random: systemRandom,
    log,
    others: () => options.others ?? false,
  })
  const keys = createRequestKeys({ db, clock: systemClock, random: systemRandom }, { windowMs: 3_600_000 })
  const started = options.sweep === true ? services : services.slice(0, 1)
  for (const service of started) await service.start()
  let tokens = 0
  const prefix = Math.random().toString(36).slice(2)

  const executor =
    (body: string, plan: EffectPlan, seen: LegacyAttempt[]) =>
    async (attempt: LegacyAttempt): Promise<LegacyAnswer> => {
      seen.push(attempt)
      await plan.gate
      const { fate = 'done' } = plan
      if (fate === 'refused') return { outcome: 'refused', body: '{"success":false}' }
      if (fate === 'broken') throw new Error('broken on purpose')
      const work = async (tx: Queries): Promise<string> => {
        const rows = await tx.query<{ id: number }>(sql`insert into test_effect (body) values (${body}) returning id`)
        return JSON.stringify({ success: true, data: rows[0]?.id, message: null })
      }
      let answer: LegacyAnswer
      if (attempt.key === null) answer = { outcome: 'done', body: await db.transaction(work) }
      else {
        const key = { appId: 7, key: attempt.key, fingerprint: body, requestId: 'r', route: 'POST /openApi/runJob' }
        const once = await keys.once(key, async (tx) => ({ status: 200, headers: '{}', body: await work(tx) }))
        answer = { outcome: 'done', body: once.answer.body ?? '', replayed: once.replayOf !== undefined }
      }
      await plan.after
      return answer
    }

  const callOf = (jti: string | null, body: string, over: Partial<LegacyCall> = {}): LegacyCall => ({
    route,
    appId: 7,
    path: '/runJob',
    jti,
    fingerprint: body,
    mutates: true,
    keyed: false,
    collapse: 'evidence',
    requestId: 'r',
    follow: () => undefined,
    ...over,
  })

  const server = {
    resends,
    services,
    /** A token of /authApp. */
    issue: async (presented: string | null = null, path: PathFacts = route): Promise<string> => {
      const jti = `${prefix}-${(tokens += 1)}`
      await resends.onIssued(path, jti, presented)
      return jti
    },
    /** A new client that does not see the header: the token that it calls with. */
    construct: async (path: PathFacts = route): Promise<string> => {
      await server.issue(await server.issue(null, path), path)
      const token = await server.issue(null, path)
      await server.issue(token, path)
      return token
    },
    /** One request; `attempt` is what it was executed as, undefined when it was not. */
    call: async (jti: string | null, body: string, plan: EffectPlan = {}, over: Partial<LegacyCall> = {}) => {
      const seen: LegacyAttempt[] = []
      const outcome = await resends.run(callOf(jti, body, over), executor(body, plan, seen))
      return { ...outcome, attempt: seen[0] }
    },
    /** One request whose answer goes out. */
    answered: async (jti: string | null, body: string, plan: EffectPlan = {}, over: Partial<LegacyCall> = {}) => {
      const made = await server.call(jti, body, plan, over)
      if (typeof made.attempt?.id === 'number') resends.delivered(made.attempt.id)
      return made
    },
    /** A request under way, and its attempt as soon as it executes. */
    begin: async (jti: string | null, body: string, plan: EffectPlan, over: Partial<LegacyCall> = {}) => {
      const begun = Promise.withResolvers<LegacyAttempt>()
      const outcome = resends.run(callOf(jti, body, over), (attempt) => {
        begun.resolve(attempt)
        return executor(body, plan, [])(attempt)
      })
      outcome.catch(() => undefined)
      return { attempt: await begun.promise, outcome }
    },
    stop: async (): Promise<void> => {
      for (const service of started) await service.stop()
    },
  }
  return server
}
