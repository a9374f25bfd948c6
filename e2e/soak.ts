// Everything goes wrong for hours (T-26): `npm run soak`, `npm run soak -- --minutes=3`. Prints what it counts; ends with 1 when a promise is broken.
import { parseArgs } from 'node:util'
import { seededRandom, seedFromEnv, testServerUrl } from '@oncejob/testkit'
import { makeCalls, type Called } from './support/calls.ts'
import { startCluster, whyNoCluster, type Cluster } from './support/cluster.ts'
import { openDatabaseGap } from './support/database-gap.ts'
import { lookBefore, proveEffects } from './support/call-effects.ts'
import { expectEveryRoute, expectSound, sayGaps, sayTold } from './support/every-call.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { openGap, type Gap } from './support/gap.ts'
import { Callers } from './support/keyed-calls.ts'
import { postgresPlace } from './support/places.ts'
import { printTable } from './support/sizes.ts'
import { checkUnderWay, proveWork, type Sizes } from './support/soak-checks.ts'
import { makeTrouble, type Happened } from './support/soak-faults.ts'
import { Expected, playStory, storyCount } from './support/stories.ts'
import { pause } from './support/until.ts'

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '120' }, lanes: { type: 'string', default: '12' } },
})
const minutes = Number(values.minutes)
const lanes = Number(values.lanes)
if (!(minutes > 0 && lanes > 0)) throw new TypeError('--minutes and --lanes are numbers above 0')

const seed = seedFromEnv()
const durationMs = minutes * 60_000
const keyHours = 1
const [servers, workers, schedules] = [3, 4, 10]
const callsPerSecond = 20

const say = (text: string): void => void process.stdout.write(`${text}\n`)
const clockOf = (ms: number): string => new Date(ms).toISOString().slice(11, 19)
const megabytes = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MB`

const defineJobs = async (fleet: Fleet): Promise<void> => {
  const job = { processor: 'work', retry: { maxLost: 1000, max: 1000, delayMs: 0 } }
  const endAt = new Date(Date.now() + durationMs).toISOString()
  const misfire = { policy: 'run-all' as const, maxRuns: 1000 }
  const schedule = { trigger: { kind: 'cron' as const, expression: '* * * * * *' }, endAt, misfire }
  const ticks = Array.from({ length: schedules }, (_, i) => ({
    name: `tick-${i}`,
    ...job,
    params: { ms: 50 },
    schedule,
  }))
  await fleet.client.jobs.import({ format: 'oncejob.jobs/1', jobs: [{ name: 'called', ...job }, ...ticks] })
}

interface Soak {
  readonly fleet: Fleet
  readonly callers: Callers
  readonly expected: Expected
  readonly over: AbortController
}

/** Plays stories until it is over. */
const tell = async ({ callers, expected, over }: Soak): Promise<void> => {
  let index = storyCount
  const lane = async (): Promise<void> => {
    while (!over.signal.aborted) {
      index += 1
      await playStory(callers, expected, { seed, index })
      await callers.sendLate(false)
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  await callers.sendLate(true)
}

/** Says how it goes, and checks what must hold all the time. */
const watch = async ({ fleet, callers, over }: Soak, happened: Happened): Promise<Sizes[]> => {
  const seen: Sizes[] = []
  const startedMs = performance.now()
  let [lastCalls, lastMs] = [0, startedMs]
  while (!over.signal.aborted) {
    await pause(Math.min(10_000, durationMs / 6), undefined, { signal: over.signal }).catch(() => undefined)
    const sizes = await checkUnderWay(fleet)
    seen.push(sizes)
    const nowMs = performance.now()
    const rate = ((callers.made - lastCalls) * 1000) / (nowMs - lastMs)
    ;[lastCalls, lastMs] = [callers.made, nowMs]
    const troubles = [...happened].map(([name, count]) => `${count} ${name}`).join(', ')
    say(
      `${clockOf(nowMs - startedMs)}  calls ${callers.made}, ${Math.round(rate)}/s; database ${megabytes(sizes.databaseBytes)}; ` +
        `under way ${sizes.tables.map(({ name, rows }) => `${name} ${rows}`).join(', ')}; ${troubles}`,
    )
  }
  return seen
}

const first = async <T>(work: Promise<T>, over: AbortController): Promise<T> => {
  try {
    return await work
  } catch (error) {
    // the others come to their end before it is told
    over.abort()
    throw error
  }
}

const soak = async (
  fleet: Fleet,
  rest: { gaps: Gap[]; gap: Awaited<ReturnType<typeof openDatabaseGap>>; cluster: Cluster | undefined },
): Promise<void> => {
  const { adminToken, appToken } = fleet
  const callers = new Callers({ urls: rest.gaps.map(({ url }) => url), adminToken, appToken, troubled: 0.1 })
  const expected = new Expected()
  const over = new AbortController()
  const all: Soak = { fleet, callers, expected, over }
  const crew = await Promise.all(Array.from({ length: workers }, (_, i) => fleet.addWorker(`worker-${i + 1}`)))
  await defineJobs(fleet)
  const before = await lookBefore(fleet.place)
  for (let index = 0; index < storyCount; index += 1) await playStory(callers, expected, { seed, index })
  const startedMs = performance.now()
  const happened: Happened = new Map()
  const ends = setTimeout(() => over.abort(), durationMs)
  process.once('SIGINT', () => over.abort())
  const random = seededRandom(`${seed} faults`)
  const working: Promise<Called> = makeCalls(fleet.client, {
    count: Math.ceil((durationMs / 1000) * callsPerSecond),
    inFlight: 8,
    overMs: durationMs,
    input: (index) => ({ job: 'called', params: { ms: index % 10 === 0 ? 500 : 10 } }),
    signal: over.signal,
  })
  const scene = { fleet, workers: crew, gap: rest.gap, cluster: rest.cluster, random, over: over.signal }
  const parts = [tell(all), watch(all, happened), working, makeTrouble(scene, happened)] as const
  const settled = await Promise.allSettled(parts.map((part) => first<unknown>(part, over)))
  clearTimeout(ends)
  const broken = settled.find((one) => one.status === 'rejected')
  if (broken !== undefined) throw broken.reason
  const seconds = Math.round((performance.now() - startedMs) / 1000)

  say('no more trouble; everything comes to its end')
  const work = await proveWork(fleet, await working)
  await expectEveryRoute(fleet, callers.told)
  await expectSound(fleet)
  const keysKept = performance.now() - startedMs < keyHours * 3_600_000 - 300_000
  const effects = await proveEffects(fleet.place, before, { told: callers.told, expected, keysKept })
  const last = await checkUnderWay(fleet)
  callers.close()
  printTable(`soak of ${minutes} minutes, seed ${seed}`, {
    ...sayTold(
      callers.told,
      {
        seconds,
        'calls per second': Math.round(callers.told.length / seconds),
        ...sayGaps(rest.gaps),
        ...Object.fromEntries(happened),
      },
      effects,
    ),
    ...work,
    'commits cut': Object.values(rest.gap.cuts).reduce((sum, count) => sum + count, 0),
    'size of the database': megabytes(last.databaseBytes),
    ...Object.fromEntries(
      last.tables.map(({ name, rows, bytes }) => [`  ${name}`, `${rows} rows, ${megabytes(bytes)}`]),
    ),
  })
}

const main = async (): Promise<void> => {
  say(`soak of ${minutes} minutes with ONCEJOB_SEED=${seed}`)
  const why = whyNoCluster()
  if (why !== undefined) say(`PostgreSQL is not restarted: ${why}`)
  const cluster = why === undefined ? await startCluster() : undefined
  const gap = await openDatabaseGap(cluster?.url ?? testServerUrl())
  const gaps: Gap[] = []
  let fleet: Fleet | undefined
  try {
    const place = await postgresPlace(gap.url)
    const env = { ONCEJOB_REQUEST_KEY_HOURS: String(keyHours) }
    fleet = await openFleet({ place, servers, javaWorkers: true, leaseMs: 3_000, graceMs: 2_000, env })
    for (const url of fleet.urls) gaps.push(await openGap(url))
    await soak(fleet, { gaps, gap, cluster })
  } catch (error) {
    say(fleet?.words() ?? '')
    throw error
  } finally {
    for (const one of gaps) await one.close()
    await fleet?.close()
    await gap.close()
    await cluster?.remove()
  }
}

await main()
