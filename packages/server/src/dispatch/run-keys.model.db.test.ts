// T-15: random sequences of everything that can happen to run keys, compared with the model after each step.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { onClosedPolicies, onOpenPolicies, Refusal } from '@oncejob/protocol'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { createRunKeySweeper } from '../requests/run-key-sweeper.ts'
import { audit } from '../retention/audit.ts'
import { sql } from '../storage/sql.ts'
import { createRig, followUp, type Rig } from '../testing/rig.ts'
import { RunKeyModel, type ModelAsk, type ModelRun } from '../testing/run-key-model.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())

const isFull = process.env['ONCEJOB_FULL'] === '1'
const seedText = process.env['ONCEJOB_SEED']
const settings = {
  numRuns: Number(process.env['ONCEJOB_RUNS'] ?? (isFull ? 5_000 : 25)),
  // on a loaded machine fewer sequences, and a failure is told in time, shrunk as far as it got
  interruptAfterTimeLimit: isFull ? 6_900_000 : 200_000,
  ...(seedText === undefined ? {} : { seed: Number(seedText) }),
}

// two keys of the job, one of the app; a later one of few runs is named by a number, counted modulo how many there are
const keys = ['job:a', 'job:b', 'app:a'] as const
const key = fc.constantFrom(...keys)
const which = fc.nat({ max: 20 })
const submit = fc.record({
  do: fc.constant('submit' as const),
  key,
  // mostly the same, so that policies have something to decide
  params: fc.constantFrom(0, 0, 0, 0, 1),
  onOpen: fc.constantFrom(...onOpenPolicies, 'replace' as const, 'after' as const),
  onClosed: fc.constantFrom(...onClosedPolicies),
  ignore: fc.boolean(),
  ttlHours: fc.constantFrom(0, 0.5, 1.5, null),
})
const step = fc.oneof(
  { arbitrary: submit, weight: 8 },
  { arbitrary: fc.record({ do: fc.constant('start' as const) }), weight: 3 },
  {
    arbitrary: fc.record({
      do: fc.constantFrom(
        'succeed' as const,
        'fail' as const,
        'cancel' as const,
        'stop' as const,
        'retry' as const,
        'zombie' as const,
      ),
      which,
    }),
    weight: 7,
  },
  { arbitrary: fc.record({ do: fc.constant('reset' as const), key, force: fc.boolean() }), weight: 1 },
  { arbitrary: fc.record({ do: fc.constantFrom('lose' as const, 'hour' as const, 'sweep' as const) }), weight: 2 },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

/** The code of a refusal, or what the call gave. */
const outcomeOf = async <T>(work: Promise<T>): Promise<T | string> => {
  try {
    return await work
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}

/** The server under test and the model, side by side. */
class Pair {
  readonly model = new RunKeyModel()
  readonly #ids = new Map<ModelRun, number>()
  readonly #leases = new Map<ModelRun, number>()
  readonly #past: { runId: number; lease: number }[] = []
  readonly #sweeper = createRunKeySweeper({ db: rig.db, clock: systemClock, log: silentLog })
  readonly #appId: number
  readonly #jobId: number
  #sessionId = 0

  constructor(appId: number, jobId: number) {
    this.#appId = appId
    this.#jobId = jobId
  }

  #idOf(run: ModelRun | null | undefined): number | null {
    return run === null || run === undefined ? null : (this.#ids.get(run) ?? -1)
  }

  #pick(which: number, fits: (run: ModelRun) => boolean): ModelRun | undefined {
    const runs = this.model.runs.filter(fits)
    return runs[which % runs.length]
  }

  async #submit(ask: ModelAsk): Promise<void> {
    const [scope, name] = ask.key.split(':') as ['job' | 'app', string]
    const real = await outcomeOf(
      rig.submitKeyed(this.#appId, this.#jobId, name, {
        params: ask.params,
        policy: {
          scope,
          onOpen: ask.onOpen,
          onClosed: ask.onClosed,
          ttlMs: ask.ttlHours === null ? null : ask.ttlHours * 3_600_000,
          onInputMismatch: ask.ignore ? 'ignore' : 'reject',
        },
      }),
    )
    const answer = this.model.submit(ask)
    if ('refused' in answer) return expect(real).toBe(answer.refused)
    if ('existing' in answer)
      return expect(real).toMatchObject({
        id: this.#idOf(answer.existing),
        deduplicated: true,
        replaces: null,
        after: null,
      })
    expect(real).toMatchObject({
      id: expect.any(Number),
      deduplicated: false,
      replaces: this.#idOf(answer.replaces),
      after: this.#idOf(answer.after),
    })
    const { id } = real as { id: number }
    expect([...this.#ids.values()]).not.toContain(id)
    this.#ids.set(answer.made, id)
  }

  async #start(): Promise<void> {
    if (this.#sessionId === 0) this.#sessionId = (await rig.worker(this.#appId, { slots: 1_000 })).sessionId
    const held = [...this.#leases].map(([run, lease]) => ({ runId: this.#idOf(run)!, lease }))
    const starting = this.model.start()
    const runs: Awaited<ReturnType<Rig['poll']>>['runs'] = []
    // a poll that has stops to say brings no runs
    for (let polls = 0; polls < 20 && (polls === 0 || runs.length < starting.length); polls += 1)
      runs.push(...(await rig.poll(this.#appId, this.#sessionId, held, 1_000)).runs)
    expect(new Set(runs.map(({ runId }) => runId))).toEqual(new Set(starting.map((run) => this.#idOf(run))))
    for (const run of starting) this.#leases.set(run, runs.find(({ runId }) => runId === this.#idOf(run))!.lease)
  }

  async #report(runId: number, lease: number, outcome: 'succeeded' | 'failed'): Promise<string> {
    const error = { code: 'X', message: 'x' }
    const report = outcome === 'succeeded' ? { runId, lease, outcome } : { runId, lease, outcome, error }
    const { answers } = await rig.sessions.report(this.#appId, { reports: [report] })
    return answers[0]!.answer
  }

  async #finish(which: number, outcome: 'succeeded' | 'failed'): Promise<void> {
    const run = this.#pick(which, ({ place }) => place === 'running')
    if (run === undefined) return
    const held = { runId: this.#idOf(run)!, lease: this.#leases.get(run)! }
    expect(await this.#report(held.runId, held.lease, outcome)).toBe('accepted')
    this.#leases.delete(run)
    this.#past.push(held)
    this.model.report(run, outcome)
  }

  async #lose(): Promise<void> {
    if (this.#leases.size === 0) return
    await rig.db.query(
      sql`update oncejob.worker_session set ended_at = now(), end_reason = 'lost' where id = ${this.#sessionId}`,
    )
    rig.directory.remove(this.#sessionId)
    this.#sessionId = 0
    await rig.reclaim.takeBack()
    for (const [run, lease] of this.#leases) {
      this.#past.push({ runId: this.#idOf(run)!, lease })
      this.model.lose(run)
    }
    this.#leases.clear()
  }

  async #act(one: Step): Promise<void> {
    switch (one.do) {
      case 'submit':
        return this.#submit(one)
      case 'start':
        return this.#start()
      case 'succeed':
        return this.#finish(one.which, 'succeeded')
      case 'fail':
        return this.#finish(one.which, 'failed')
      case 'lose':
        return this.#lose()
      case 'zombie': {
        // whoever speaks of a lease that is over is told so, and nothing changes
        const past = this.#past[one.which % this.#past.length]
        if (past !== undefined)
          expect(['duplicate', 'lost']).toContain(await this.#report(past.runId, past.lease, 'succeeded'))
        return
      }
      case 'cancel': {
        const run = this.#pick(one.which, ({ place }) => place === 'waiting')
        if (run === undefined) return
        expect(await rig.runs.cancel(this.#appId, this.#idOf(run)!, 'test')).toMatchObject({ changed: true })
        return this.model.end(run, 'canceled')
      }
      case 'stop': {
        const run = this.#pick(one.which, ({ place }) => place === 'running')
        if (run === undefined) return
        await rig.runs.stop(this.#appId, this.#idOf(run)!, 'test')
        run.stopping = true
        return
      }
      case 'retry': {
        const run = this.#pick(one.which, ({ state }) => state !== 'open')
        if (run === undefined) return
        const real = await outcomeOf(rig.runs.retry(this.#appId, this.#idOf(run)!, 'test').then(({ state }) => state))
        return expect(real).toBe(this.model.retry(run))
      }
      case 'reset': {
        const how = { force: one.force, actor: 'test' }
        const real = await outcomeOf(rig.runs.resetRunKey(this.#ref(one.key), how).then(() => 'free'))
        return expect(real).toBe(this.model.reset(one.key, one.force))
      }
      case 'hour': {
        await rig.db.query(
          sql`update oncejob.run set ended_at = ended_at - interval '1 h' where app_id = ${this.#appId}`,
        )
        await rig.db
          .query(sql`update oncejob.run_key set ended_at = ended_at - interval '1 h', expires_at = expires_at - interval '1 h'
          where app_id = ${this.#appId}`)
        return this.model.hour()
      }
      case 'sweep': {
        await this.#sweeper.runOnce()
        return this.model.sweep()
      }
    }
  }

  #ref(text: string) {
    const [scope, name] = text.split(':') as ['job' | 'app', string]
    return { appId: this.#appId, jobId: scope === 'app' ? 0 : this.#jobId, key: name }
  }

  /** Both must show the same: every run, and what every key stands for. */
  async #compare(): Promise<void> {
    const rows = await rig.db.query<{ id: number; state: string; place: string | null; behind: number | null }>(sql`
      select r.id, r.state, case when r.state <> 'open' then null when a.run_id is null then 'waiting' else 'running' end as place,
        b.after_run_id as behind
      from oncejob.run r left join oncejob.attempt a on a.run_id = r.id left join oncejob.run_blocked b on b.run_id = r.id
      where r.app_id = ${this.#appId} order by r.id`)
    expect(rows).toEqual(
      this.model.runs.map((run) => ({
        id: this.#idOf(run),
        state: run.state,
        place: run.place,
        behind: this.#idOf(run.behind),
      })),
    )
    for (const text of keys) {
      const real = await outcomeOf(rig.runs.runKey(this.#ref(text)).then(({ runId }) => runId))
      expect(real, text).toBe(this.#idOf(this.model.standsFor(text)) ?? 'RUN_KEY_NOT_FOUND')
      // what this is all about, counted in the server's own rows
      const open = rows.filter(({ id, state }) => state === 'open' && this.#keyOf(id) === text)
      expect(open.filter(({ behind }) => behind === null).length, text).toBeLessThanOrEqual(1)
      expect(open.length, text).toBeLessThanOrEqual(2)
    }
  }

  #keyOf(id: number): string | undefined {
    return [...this.#ids].find(([, other]) => other === id)?.[0].key
  }

  async run(one: Step): Promise<void> {
    await this.#act(one)
    // what follows an end goes on beside the answer
    await followUp(rig)
    await this.#compare()
  }
}

const noLeftovers = (): Promise<void> =>
  rig.db.script(`
    delete from oncejob.run_ready; delete from oncejob.run_later; delete from oncejob.run_blocked; delete from oncejob.attempt;
    delete from oncejob.run_key; delete from oncejob.attempt_log; delete from oncejob.run; delete from oncejob.worker_session`)

test(
  'run keys do what the model says, whatever happens in whatever order',
  { timeout: isFull ? 7_200_000 : 300_000 },
  async () => {
    const appId = await rig.app()
    const jobId = await rig.job(appId)
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50, size: 'max' }), async (steps) => {
        const pair = new Pair(appId, jobId)
        try {
          for (const one of steps) await pair.run(one)
          const { findings } = await audit(rig.db, { graceMs: 5_000, patienceMs: 60_000 })
          expect(findings.filter(({ violations }) => violations > 0)).toEqual([])
        } finally {
          await noLeftovers()
          await rig.directory.refresh()
        }
      }),
      settings,
    )
  },
)
