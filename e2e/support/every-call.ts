// Many calls over every route that takes a request key, each sent up to five times through trouble: each has one effect and one answer.
import assert from 'node:assert/strict'
import { seededRandom, type SeededRandom } from '@oncejob/testkit'
import { lookBefore, proveEffects, type Effects } from './call-effects.ts'
import { openFleet, type Fleet, type FleetOptions } from './fleet.ts'
import { openGap, troubles, type Gap } from './gap.ts'
import { Callers, type Told } from './keyed-calls.ts'
import { Pace } from './pace.ts'
import { printTable } from './sizes.ts'
import { Expected, playStory, storyCount } from './stories.ts'

export interface Scene {
  readonly fleet: Fleet
  readonly pace: Pace
}

/** Something that goes on during a storm; resolves with what it counted when it is through. */
export type Fault = (scene: Scene, random: SeededRandom) => Promise<Record<string, number>>

export interface EveryCall {
  readonly title: string
  readonly seed: string
  readonly calls: number
  /** Stories at once. */
  readonly lanes: number
  readonly fleet: FleetOptions
  /** Share of the sendings that meet trouble on the way, 0 to 1. */
  readonly troubled: number
  readonly faults: readonly Fault[]
}

interface Operation {
  readonly parameters?: readonly { readonly name: string }[]
}

/** Every route that takes a request key, as the OpenAPI document of the server says. */
export const keyedRoutes = async (fleet: Fleet): Promise<string[]> => {
  const document = (await fleet.admin.openapi()) as { paths: Record<string, Record<string, Operation>> }
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { parameters = [] }]) => parameters.some(({ name }) => name === 'Idempotency-Key'))
      .map(([method]) => `${method.toUpperCase()} ${path}`),
  )
}

const sumOf = (numbers: Iterable<number>): number => [...numbers].reduce((sum, number) => sum + number, 0)

/** For each route: calls, final answers, sendings. */
const byRoute = (told: readonly Told[]): Record<string, string> =>
  Object.fromEntries(
    [...Map.groupBy(told, ({ route }) => route)]
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([route, ofRoute]) => [
        `  ${route}`,
        `${ofRoute.length} / ${sumOf(ofRoute.map(({ answers }) => answers))} / ${sumOf(ofRoute.map(({ sendings }) => sendings))}`,
      ]),
  )

/** The counts of a storm, for a table. */
export const sayTold = (told: readonly Told[], counts: Record<string, number>, effects: Effects) => ({
  calls: told.length,
  'final answers': sumOf(told.map(({ answers }) => answers)),
  '  of these repeats': sumOf(told.map(({ replays }) => replays)),
  sendings: sumOf(told.map(({ sendings }) => sendings)),
  ...counts,
  'calls refused': told.filter(({ refused }) => refused).length,
  'request keys kept': effects.keys,
  'audit entries': effects.audit,
  'jobs made': effects.jobs,
  'runs made': effects.runs,
  'calls with two effects': 0,
  'calls with two answers': 0,
  'calls / answers / sendings of': '',
  ...byRoute(told),
})

/** What the gaps have done. */
export const sayGaps = (gaps: readonly Gap[]): Record<string, number> => {
  const made = troubles.map((trouble): [string, number] => [
    `  ${trouble}`,
    sumOf(gaps.map((gap) => gap.made[trouble])),
  ])
  return { 'troubles on the way': sumOf(made.map(([, count]) => count)), ...Object.fromEntries(made) }
}

/** Every route has been called: a new one that takes a key needs a place in stories.ts. */
export const expectEveryRoute = async (fleet: Fleet, told: readonly Told[]): Promise<void> => {
  const met = new Set(told.filter(({ refused }) => !refused).map(({ route }) => route))
  const known = await keyedRoutes(fleet)
  assert.ok(known.length >= 18, `only ${known.length} routes take a key: ${known.join(', ')}`)
  assert.deepEqual(
    known.filter((route) => !met.has(route)),
    [],
    'routes that take a request key and are in no story of e2e/support/stories.ts',
  )
}

/** Audit as an operator asks for it. */
export const expectSound = async (fleet: Fleet): Promise<void> => {
  const { clean, findings } = await fleet.admin.audit()
  assert.deepEqual(
    findings.filter(({ violations }) => violations > 0),
    [],
  )
  assert.ok(clean && findings.length > 5)
}

const storm = async (
  plan: EveryCall,
  fleet: Fleet,
  callers: Callers,
  expected: Expected,
): Promise<Record<string, number>> => {
  const pace = new Pace(plan.calls, () => callers.made)
  let index = storyCount
  const failed = new AbortController()
  const lane = async (): Promise<void> => {
    while (callers.made < plan.calls && !failed.signal.aborted) {
      await pace.mayGoOn()
      index += 1
      await playStory(callers, expected, { seed: plan.seed, index })
      await callers.sendLate(false)
    }
  }
  const stop = (error: unknown): never => {
    failed.abort()
    pace.end()
    throw error
  }
  const faults = plan.faults.map((fault, i) =>
    fault({ fleet, pace }, seededRandom(`${plan.seed} fault ${i}`)).catch(stop),
  )
  const lanes = Array.from({ length: plan.lanes }, () => lane().catch(stop))
  // whoever fails first says why; the others come to their end before anything is taken down
  const settled = await Promise.allSettled([...lanes, ...faults])
  pace.end()
  const broken = settled.find((one) => one.status === 'rejected')
  if (broken !== undefined) throw broken.reason
  await callers.sendLate(true)
  return Object.assign({}, ...(await Promise.all(faults))) as Record<string, number>
}

/** Takes servers out of use before looking into a database that has one owner at a time. */
const quiet = async (fleet: Fleet): Promise<void> => {
  if (fleet.place.kind === 'embedded') await Promise.all(fleet.servers.map((server) => server.child().endBy('SIGTERM')))
}

const restart = async (fleet: Fleet): Promise<void> => {
  if (fleet.place.kind === 'embedded') await Promise.all(fleet.servers.map((server) => server.start()))
}

/** Runs the storm and proves I1 for every call; prints the counts. */
export const runEveryCall = async (plan: EveryCall): Promise<void> => {
  process.stdout.write(`${plan.title} with ONCEJOB_SEED=${plan.seed}\n`)
  // few sessions each: the database server may be shared
  const fleet = await openFleet({ ...plan.fleet, javaWorkers: true, env: { ONCEJOB_POOL_MAX: '5' } })
  const gaps: Gap[] = []
  const expected = new Expected()
  let callers: Callers | undefined
  try {
    await quiet(fleet)
    const before = await lookBefore(fleet.place)
    await restart(fleet)
    for (const url of fleet.urls) gaps.push(await openGap(url))
    const { adminToken, appToken } = fleet
    callers = new Callers({ urls: gaps.map(({ url }) => url), adminToken, appToken, troubled: plan.troubled })
    for (let index = 0; index < storyCount; index += 1) await playStory(callers, expected, { seed: plan.seed, index })
    await callers.sendLate(true)
    await expectEveryRoute(fleet, callers.told)
    const startedMs = performance.now()
    const counts = await storm(plan, fleet, callers, expected)
    const seconds = (performance.now() - startedMs) / 1000
    assert.equal(callers.told.length, callers.made)
    await expectSound(fleet)
    await quiet(fleet)
    const effects = await proveEffects(fleet.place, before, { told: callers.told, expected })
    const all = { seconds: Math.round(seconds), ...sayGaps(gaps), ...counts }
    printTable(`${plan.title}, seed ${plan.seed}`, sayTold(callers.told, all, effects))
  } catch (error) {
    process.stdout.write(`${fleet.words()}\n`)
    throw error
  } finally {
    callers?.close()
    for (const gap of gaps) await gap.close()
    await fleet.close()
  }
}
