// What a processor does to the world happens as often as the guide promises, whenever its process dies: real workers, SIGKILL.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from '@oncejob/server/testing'
import {
  faultPoints,
  seededRandom,
  oncePoints,
  reportPoints,
  seedFromEnv,
  transactionPoints,
  type FaultPoint,
} from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { makeCalls } from './support/calls.ts'
import { below } from './support/chance.ts'
import {
  decide,
  effectsLedger,
  keepUp,
  openForeignApi,
  openShop,
  startEffectsWorker,
  type ChargeParams,
  type ForeignApi,
  type KeptUp,
  type Payment,
  type Shop,
} from './support/effects.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { ofKind } from './support/ledger.ts'
import { rowsOf } from './support/places.ts'
import { expectCleanAudit, expectNothingStuck, readFacts, untilQuiet, type Facts } from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { pause, within } from './support/until.ts'

let fleet: Fleet | undefined
let shop: Shop | undefined
let api: ForeignApi | undefined
let kept: KeptUp | undefined
afterEach(async () => {
  kept?.stop()
  await fleet?.close()
  await shop?.remove()
  api?.close()
  fleet = shop = api = kept = undefined
})

const retry = { maxLost: 1000, max: 1000, delayMs: 0 }

interface Effect {
  readonly run_id: number
  readonly name: string
  readonly state: string
  readonly outcome: string | null
}

const readEffects = (of: Fleet): Promise<Effect[]> =>
  rowsOf<Effect>(of.place, sql`select run_id, name, state, outcome from oncejob.effect`)

/** Runs of which nobody knows what their last attempt did, with the effect that it found unknown. */
const readUnknown = async (of: Fleet): Promise<Map<number, string>> => {
  const rows = await rowsOf<{ run_id: number; why: string }>(
    of.place,
    sql`select run_id, concat_ws(' ', reason, effect) as why from oncejob.run_undecided`,
  )
  const told = new Set<number>()
  for await (const run of of.client.runs.list({ state: 'unknown', limit: 500 })) told.add(run.id)
  expect(told).toEqual(new Set(rows.map((row) => row.run_id)))
  return new Map(rows.map((row) => [row.run_id, row.why]))
}

const resultOf = (facts: Facts, runId: number): unknown =>
  JSON.parse(facts.runs.find((run) => run.id === runId)?.result ?? 'null')

// ---- every point -----------------------------------------------------------------------------------------------------

type Kind = 'transaction' | 'run-again' | 'ask' | 'resolve'

interface Case {
  readonly kind: Kind
  readonly point: FaultPoint
  readonly runId: number
}

/** Who dies, where, and with which runs in its hands. The runs of one process come to the point together. */
const deaths: readonly { readonly point: FaultPoint; readonly kinds: readonly Kind[] }[] = [
  ...oncePoints.map((point) => ({ point, kinds: ['run-again', 'ask', 'resolve'] as const })),
  ...transactionPoints.map((point) => ({ point, kinds: ['transaction'] as const })),
  // one at a time: reports that are ready together go in one request
  ...reportPoints.flatMap((point) => [
    { point, kinds: ['transaction'] as const },
    { point, kinds: ['run-again'] as const },
    { point, kinds: ['ask'] as const },
  ]),
]

/** The row is written and its outcome is not recorded. Of what was only sent, nobody can say whether it arrived. */
const inTheGap: readonly FaultPoint[] = ['once:after-effect', 'once:before-outcome']
const begun: readonly FaultPoint[] = ['once:intent-answered', 'once:before-effect', ...inTheGap]

const submit = async (of: Fleet, workers: readonly string[], kind: Kind): Promise<number> => {
  const name = `${kind} of ${workers[0]}`
  const processor = kind === 'transaction' ? 'transaction' : 'once'
  await of.client.jobs.create({ name, processor, retry, workers: { designated: [...workers] } })
  const { id } = await of.client.runs.create({ job: name, params: { onUnknown: kind } })
  return id
}

const visitsIn = (path: string): string[] =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : []

/** Kills a process at each point; resolves with what was in whose hands. */
const dieEverywhere = async (of: Fleet, shopUrl: string): Promise<{ cases: Case[]; visited: Set<string> }> => {
  const cases: Case[] = []
  const visited = new Set<string>()
  let next = 0
  const lane = async (): Promise<void> => {
    for (let index = next++; index < deaths.length; index = next++) {
      const { point, kinds } = deaths[index]!
      const name = `victim-${index}`
      for (const kind of kinds) cases.push({ kind, point, runId: await submit(of, [name, 'heir'], kind) })
      const log = join(of.folder, `${name}.visits`)
      const victim = startEffectsWorker(
        of,
        { name, shopUrl, gate: true },
        { ONCEJOB_TEST_FAULT: `${point}#${kinds.length}`, ONCEJOB_TEST_FAULT_LOG: log },
      )
      const ending = await within(`death at ${point}`, victim.ended).catch((error: unknown) => {
        throw new Error(`it came by ${visitsIn(log).join(', ')}; ${victim.words()}`, { cause: error })
      })
      expect(ending, `${point}: ${victim.words()}`).toEqual({ code: null, signal: 'SIGKILL' })
      expect(visitsIn(log).filter((line) => line === point)).toHaveLength(kinds.length)
      visited.add(point)
    }
  }
  await Promise.all([lane(), lane(), lane(), lane()])
  return { cases, visited }
}

const judge = (
  { kind, point, runId }: Case,
  facts: Facts,
  effect: Effect | undefined,
  rows: Payment[],
  unknown?: string,
) => {
  const what = `${kind} died at ${point}`
  const run = facts.runs.find((one) => one.id === runId)
  if (kind === 'transaction') {
    expect([rows.length, run?.state, resultOf(facts, runId)], what).toEqual([1, 'succeeded', { by: rows[0]!.lease }])
    return
  }
  if (kind === 'ask' && unknown !== undefined) {
    expect([unknown, run?.state, effect?.state], what).toEqual(['effect pay', 'open', 'intent'])
    expect([...begun, 'once:intent-sent', 'once:outcome-sent'], what).toContain(point)
    expect(rows.length, what).toBeLessThanOrEqual(1)
    if (!point.endsWith('-sent')) expect(rows, what).toHaveLength(inTheGap.includes(point) ? 1 : 0)
    return
  }
  expect(run?.state, what).toBe('succeeded')
  if (kind === 'ask') expect(begun, what).not.toContain(point)
  // what the ledger keeps is what the run returned, and it is one of the rows that are there
  expect([effect?.state, JSON.parse(effect?.outcome ?? 'null')], what).toEqual(['done', resultOf(facts, runId)])
  expect(
    rows.map(({ lease }) => ({ by: lease })),
    what,
  ).toContainEqual(resultOf(facts, runId))
  if (kind !== 'run-again') expect(rows, what).toHaveLength(1)
  else if (inTheGap.includes(point)) expect(rows, what).toHaveLength(2)
  else if (point === 'once:outcome-sent') expect([1, 2], what).toContain(rows.length)
  else expect(rows, what).toHaveLength(1)
}

it('a worker killed at every point around an effect leaves what its kind promises, and never less', async () => {
  const at = (fleet = await openFleet({ leaseMs: 3_000, graceMs: 500 }))
  shop = await openShop()
  const { cases, visited } = await dieEverywhere(at, shop.url)
  expect([...visited].toSorted()).toEqual([...faultPoints].toSorted())
  startEffectsWorker(at, { name: 'heir', shopUrl: shop.url, concurrency: 20 })
  await untilQuiet(at)
  await expectCleanAudit(at)

  const facts = await readFacts(at)
  const [effects, payments, unknown] = [await readEffects(at), await shop.payments(), await readUnknown(at)]
  expect(cases).toHaveLength(deaths.flatMap(({ kinds }) => kinds).length)
  for (const one of cases) {
    const rows = payments.filter((row) => row.run_id === one.runId)
    const effect = effects.find((row) => row.run_id === one.runId)
    judge(one, facts, effect, rows, unknown.get(one.runId))
  }
  expect(payments.filter((row) => !cases.some(({ runId }) => runId === row.run_id))).toEqual([])
  const count = (kind: Kind): string => {
    const runs = cases.filter((one) => one.kind === kind).map(({ runId }) => runId)
    const rows = payments.filter((row) => runs.includes(row.run_id)).length
    return `${runs.length}, ${rows}, ${runs.filter((id) => unknown.has(id)).length}`
  }
  printTable('a death at every point: runs, rows of the user, asked', {
    'processes killed': deaths.length,
    'ctx.transaction': count('transaction'),
    "ctx.once, 'run-again'": count('run-again'),
    "ctx.once, 'ask'": count('ask'),
    "ctx.once, 'resolve'": count('resolve'),
  })

  // and when those that ask are answered with the truth, their effects are there once as well
  await decide(at, unknown.keys(), 'pay', (runId) => {
    const row = payments.find((one) => one.run_id === runId)
    return row === undefined ? undefined : { by: row.lease }
  })
  await untilQuiet(at)
  await expectNothingStuck(at)
  const asked = new Set(cases.filter(({ kind }) => kind === 'ask').map(({ runId }) => runId))
  const paid = (await shop.payments()).filter((row) => asked.has(row.run_id)).map((row) => row.run_id)
  expect(paid.toSorted((a, b) => a - b)).toEqual([...asked].toSorted((a, b) => a - b))
  await expectCleanAudit(at)
})

// ---- T-19 ------------------------------------------------------------------------------------------------------------

const names = ['worker-1', 'worker-2', 'worker-3', 'worker-4']

const submitMany = async (of: Fleet, job: string, count: number, params: ChargeParams | null): Promise<number[]> => {
  const called = await makeCalls(of.client, { count, inFlight: 8, input: () => ({ job, params }) })
  return called.acknowledged
}

/** Freezes one process after the other, until told to end; resolves with how often. */
const freezeAtRandom = async (among: KeptUp, seed: string, forMs: number, signal: AbortSignal): Promise<number> => {
  const random = seededRandom(`freezes ${seed}`)
  let frozen = 0
  while (!signal.aborted) {
    await pause(random.next() * 500)
    const alive = among.children().filter((child) => child.isAlive())
    const child = alive[below(random, alive.length)]
    if (child === undefined) continue
    child.signal('SIGSTOP')
    frozen += 1
    await pause(forMs)
    child.signal('SIGCONT')
  }
  return frozen
}

it(
  'three transactions per run, one death in seven behind a commit: each step once and in order, none by a fenced lease (T-19)',
  { timeout: size(300_000, 1_800_000) },
  async () => {
    const seed = seedFromEnv()
    process.stdout.write(`steps with ONCEJOB_SEED=${seed}\n`)
    const least = size(200, 2_000)
    const at = (fleet = await openFleet({ leaseMs: 2_000, graceMs: 500 }))
    const there = (shop = await openShop())
    await at.client.jobs.create({ name: 'steps', processor: 'steps', retry })
    kept = keepUp(names, (name) => startEffectsWorker(at, { name, shopUrl: there.url, seed, deaths: 0.15, workMs: 40 }))
    const runIds = await submitMany(at, 'steps', least, null)
    const over = new AbortController()
    const freezing = freezeAtRandom(kept, seed, 3_500, over.signal)
    // goes on until a frozen process was refused a write: without that it would not be a test
    try {
      for (;;) {
        await untilQuiet(at, size(240_000, 1_500_000))
        if (ofKind(effectsLedger(at, names), 'abort').length > 0) break
        runIds.push(...(await submitMany(at, 'steps', least / 4, null)))
      }
    } finally {
      over.abort()
    }
    const frozen = await freezing
    kept.stop()
    await expectCleanAudit(at)
    await expectNothingStuck(at)

    const count = runIds.length
    const [facts, payments, fences] = [await readFacts(at), await there.payments(), await there.fences()]
    const entries = effectsLedger(at, names)
    expect(facts.runs.filter((run) => run.state !== 'succeeded')).toEqual([])
    expect(payments).toHaveLength(3 * count)
    const byRun = Map.groupBy(payments, (row) => row.run_id)
    expect([...byRun.keys()].toSorted((a, b) => a - b)).toEqual(runIds.toSorted((a, b) => a - b))
    for (const [runId, rows] of byRun) {
      expect(rows.map(({ name }) => name)).toEqual(['step-0', 'step-1', 'step-2'])
      const leases = rows.map(({ lease }) => lease)
      // a step by a lease below one that has written before would be a step by a fenced attempt
      expect(leases).toEqual(leases.toSorted((a, b) => a - b))
      expect(fences.get(runId)).toBeGreaterThanOrEqual(leases[2]!)
      expect(resultOf(facts, runId)).toEqual(leases.map((by) => ({ by })))
    }
    const refused = ofKind(entries, 'abort')
    expect(refused.length).toBeGreaterThan(0)
    const died = ofKind(entries, 'died')
    expect(died.length).toBeGreaterThan(count / 20)
    expect(new Set(died.map(({ moment }) => moment))).toEqual(new Set([0, 1, 2]))
    const replayed = [...byRun.values()].filter((rows) => new Set(rows.map(({ lease }) => lease)).size > 1).length
    printTable(`T-19, seed ${seed}`, {
      runs: count,
      'effects of 3 per run': payments.length,
      'deaths behind a commit': died.length,
      'processes started again': kept.restarts(),
      'processes frozen past their lease': frozen,
      'attempts begun': ofKind(entries, 'start').length,
      'runs whose steps are of several attempts': replayed,
      'attempts whose writes were refused': refused.length,
    })
  },
)

// ---- T-20 ------------------------------------------------------------------------------------------------------------

const choices = {
  'key-aware, run-again': { api: 'aware', onUnknown: 'run-again' },
  'key-blind, run-again': { api: 'blind', onUnknown: 'run-again' },
  'key-blind, ask': { api: 'blind', onUnknown: 'ask' },
} as const satisfies Record<string, ChargeParams>

it(
  'a foreign API: once where it knows keys, else at least or at most once, and every gap is told (T-20)',
  { timeout: size(300_000, 2_400_000) },
  async () => {
    const seed = seedFromEnv()
    process.stdout.write(`charges with ONCEJOB_SEED=${seed}\n`)
    const count = size(150, 2_000)
    const at = (fleet = await openFleet({ leaseMs: 2_000, graceMs: 500 }))
    const there = (shop = await openShop())
    const foreign = (api = await openForeignApi(seed, 0.02))
    await at.client.jobs.create({ name: 'charge', processor: 'charge', retry })
    kept = keepUp(names, (name) =>
      startEffectsWorker(at, { name, shopUrl: there.url, apiUrl: foreign.url, seed, deaths: 0.1 }),
    )
    const runs = new Map<string, number[]>()
    for (const [title, params] of Object.entries(choices))
      runs.set(title, await submitMany(at, 'charge', count, params))
    await untilQuiet(at, size(240_000, 2_100_000))
    await expectCleanAudit(at)

    const facts = await readFacts(at)
    const [effects, unknown] = [await readEffects(at), await readUnknown(at)]
    const stateOf = new Map(facts.runs.map((run) => [run.id, run.state]))
    const effectOf = new Map(effects.map((effect) => [effect.run_id, effect]))
    const callsOf = (title: string): number[] => {
      const calls = Map.groupBy(foreign.charges, (charge) => charge.runId)
      return runs.get(title)!.map((runId) => calls.get(runId)?.length ?? 0)
    }
    const sum = (title: string): number => callsOf(title).reduce((all, one) => all + one, 0)
    const ended = (title: string, state: string): number[] =>
      runs.get(title)!.filter((runId) => stateOf.get(runId) === state)

    for (const title of ['key-aware, run-again', 'key-blind, run-again']) {
      expect(ended(title, 'succeeded'), title).toHaveLength(count)
      for (const runId of runs.get(title)!) expect(effectOf.get(runId)?.state).toBe('done')
    }
    expect(callsOf('key-aware, run-again')).toEqual(Array.from({ length: count }, () => 1))
    expect(Math.min(...callsOf('key-blind, run-again'))).toBe(1)
    const asked = runs.get('key-blind, ask')!.filter((runId) => unknown.has(runId))
    const sure = ended('key-blind, ask', 'succeeded')
    expect(asked.length + sure.length).toBe(count)
    expect(Math.max(...callsOf('key-blind, ask'))).toBe(1)
    const calledFor = new Set(foreign.charges.map((charge) => charge.runId))
    expect(sure.filter((runId) => !calledFor.has(runId))).toEqual([])
    for (const runId of asked)
      expect([unknown.get(runId), effectOf.get(runId)?.state]).toEqual(['effect charge', 'intent'])
    // without these it would not be a test
    expect(sum('key-blind, run-again')).toBeGreaterThan(count)
    expect(asked.length).toBeGreaterThan(0)
    const died = ofKind(effectsLedger(at, names), 'died')
    expect(new Set(died.map(({ moment }) => moment))).toEqual(new Set([0, 1, 2]))
    printTable(`T-20, ${count} runs each, seed ${seed}`, {
      'deaths around a call': died.length,
      'processes started again': kept.restarts(),
      'requests that came': foreign.requests(),
      'effects: key-aware, run-again': sum('key-aware, run-again'),
      'effects: key-blind, run-again': sum('key-blind, run-again'),
      'effects: key-blind, ask': sum('key-blind, ask'),
      '  of these runs unknown, and asked': asked.length,
    })

    // a person who is told of each gap, and looks, makes that once too; the processes go on dying meanwhile
    for (let open = unknown; open.size > 0; open = await readUnknown(at)) {
      await decide(at, open.keys(), 'charge', (runId) => {
        const at = foreign.charges.findIndex((charge) => charge.runId === runId)
        return at === -1 ? undefined : { charge: at + 1 }
      })
      await untilQuiet(at)
    }
    kept.stop()
    await expectNothingStuck(at)
    await expectCleanAudit(at)
    expect(callsOf('key-blind, ask')).toEqual(Array.from({ length: count }, () => 1))
  },
)
