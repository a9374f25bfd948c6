// The tables decide about first uses as the machine of the rule does.
import { openTestDatabase, seedFromEnv, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { quickRandom } from '../testing/client-model.ts'
import { emptyPath, pathMachine, type PathEvent } from '../testing/path-machine.ts'
import { prepareEffects, route, startResends, type ResendServer } from '../testing/resend-rig.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
  await prepareEffects(database.db)
})
afterAll(() => database.close())

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))

/** Random histories decided by the machine and by the database alike. */
describe('the database decides as the machine of the rule does', () => {
  const seed = seedFromEnv()
  const histories = process.env['ONCEJOB_FULL'] === '1' ? 60 : 8

  interface Running {
    readonly id: number
    readonly gate: PromiseWithResolvers<void>
    readonly plan: { fate: 'done' | 'refused' | 'broken' }
    readonly outcome: Promise<unknown>
  }

  /** How often each decision was made: a history in which nothing happens would prove nothing. */
  const decided = { execute: 0, forced: 0, collapse: 0 }

  const playHistory = async (server: ResendServer, random: () => number): Promise<string[]> => {
    const step = pathMachine()
    const path = { ...route, peer: `10.1.${Math.floor(random() * 250)}.${Math.floor(random() * 250)}` }
    const startMs = performance.now()
    let state = emptyPath
    const tell = (event: PathEvent) => {
      const next = step(state, event, performance.now() - startMs)
      state = next.state
      return next.decision
    }
    const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)]
    const tokens = [{ jti: await server.construct(path), issuedAtMs: performance.now() - startMs, used: true }]
    const running: Running[] = []
    const differences: string[] = []

    const call = async (body: string, token = pick(tokens.slice(-3))): Promise<void> => {
      if (token === undefined) return
      const gate = Promise.withResolvers<void>()
      const plan: Running['plan'] = { fate: 'done' }
      const made = await server.begin(
        token.jti,
        body,
        {
          gate: gate.promise,
          get fate() {
            return plan.fate
          },
        },
        { route: path },
      )
      const id = made.attempt.id ?? 0
      const use = { fingerprint: body, jti: token.jti, issuedAtMs: token.issuedAtMs }
      const decision = tell({ kind: 'called', id, first: !token.used, use })
      token.used = true
      if (decision?.kind === 'execute' && decision.forced) decided.forced += 1
      else decided[decision?.kind ?? 'execute'] += 1
      const as = made.attempt.key === `powerjob attempt ${id}` ? 'execute' : made.attempt.key
      const expected = decision?.kind === 'collapse' ? `powerjob attempt ${decision.into}` : 'execute'
      if (as !== expected) differences.push(`attempt ${id}: ${as}, and not ${expected}`)
      if (decision?.kind === 'collapse') {
        gate.resolve()
        await made.outcome
      } else running.push({ id, gate, plan, outcome: made.outcome })
    }
    const read = async (): Promise<void> => {
      const token = pick(tokens.slice(-3))
      if (token === undefined) return
      await server.call(token.jti, 'read', {}, { route: path, mutates: false })
      if (!token.used) tell({ kind: 'read-first' })
      token.used = true
    }
    const end = async (fate = random()): Promise<void> => {
      const one = running.splice(Math.floor(random() * running.length), 1)[0]
      if (one === undefined) return
      one.plan.fate = fate < 0.15 ? 'refused' : fate < 0.25 ? 'broken' : 'done'
      one.gate.resolve()
      await one.outcome.catch(() => undefined)
      if (one.plan.fate === 'done') tell({ kind: 'done', id: one.id })
      else tell({ kind: 'failed', id: one.id, how: one.plan.fate })
    }
    const issue = async (): Promise<void> => {
      const jti = await server.issue(null, path)
      tokens.push({ jti, issuedAtMs: performance.now() - startMs, used: false })
    }
    // the plain case first, then anything
    await call('x')
    await end(1)
    await pause(3)
    await issue()
    await call('x', tokens.at(-1))
    for (let index = 0; index < 30; index += 1) {
      const body = random() < 0.7 ? 'x' : 'y'
      const what = random()
      // no two events within one millisecond: that is how fine the database tells times apart
      await pause(3)
      if (what < 0.3) await issue()
      else if (what < 0.65) await call(body)
      else if (what < 0.85) await end()
      else if (what < 0.92) await read()
      else {
        await server.resends.onRejected(path, body)
        tell({ kind: 'rejected', fingerprint: body })
      }
    }
    while (running.length > 0) await end()
    return differences
  }

  it('with calls under way, rejections, refusals and breaks', async () => {
    const server = await startResends(database.db)
    const random = quickRandom(parseInt(seed.slice(0, 8), 16) || 1)
    for (let index = 0; index < histories; index += 1)
      expect(await playHistory(server, random), `ONCEJOB_SEED=${seed}, history ${index}`).toEqual([])
    process.stdout.write(`  decided alike: ${JSON.stringify(decided)}\n`)
    expect(Math.min(...Object.values(decided))).toBeGreaterThan(0)
    await server.stop()
  }, 120_000)
})
