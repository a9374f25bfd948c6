// The bench: what OnceJob does on this machine, embedded and on PostgreSQL, as one table. `--smoke` is one short round.
import { cronJobs, cronLateness, storeJobs, submitToStart, type Spread } from './latency.ts'
import { describeMachine } from './support/machine.ts'
import { postgresAnswers, startFloor, startSystem, type Kind, type System } from './support/processes.ts'
import { batchCalls, drained, emptyCalls, singleCalls } from './throughput.ts'

const smoke = process.argv.includes('--smoke')
const only = process.argv.find((word) => word.startsWith('--only='))?.slice('--only='.length)
const size = (full: number, short: number): number => (smoke ? short : full)

type Cells = Map<string, string>

const perSecond = (value: number): string => `${Math.round(value).toLocaleString('en')}/s`
const spread = ({ p50, p95, p99 }: Spread): string => `${[p50, p95, p99].map((ms) => ms.toFixed(1)).join(' / ')} ms`
const lateness = ({ p50, max }: Spread): string => `${Math.round(p50)} / ${Math.round(max)} ms`

const measure = async (system: System, cells: Cells, note: (what: string, value: string) => void): Promise<void> => {
  const set = (what: string, value: string): void => {
    cells.set(what, value)
    note(what, value)
  }
  const empty = (await system.client.jobs.create({ name: 'empty', processor: 'empty' })).id
  const stamp = (await system.client.jobs.create({ name: 'stamp', processor: 'stamp' })).id
  await singleCalls(system, empty, 64, size(20_000, 200)) // warm
  for (const [inFlight, runs] of [
    [1, size(1500, 50)],
    [16, size(15_000, 300)],
    [64, size(30_000, 500)],
  ] as const) {
    set(`submit → recorded, ${inFlight} in flight`, perSecond(await singleCalls(system, empty, inFlight, runs)))
  }
  set('batch submit → recorded', perSecond(await batchCalls(system, empty, size(60_000, 2000))))
  await drained(system)
  set('submit → start p50 / p95 / p99', spread(await submitToStart(system, stamp, size(500, 30))))
  set('server memory', `${await system.memoryMb()} MB`)

  const others = system.copyJob === undefined ? size(2000, 200) : size(100_000, 500)
  const far = new Date(Date.now() + 12 * 3_600_000)
  if (system.copyJob === undefined) await storeJobs(system, cronJobs('other', others, far))
  else {
    const [first] = cronJobs('other', 1, far)
    const job = await system.client.jobs.create({ ...first!, name: 'other' })
    await system.copyJob(job.id, others)
  }
  set('other schedules stored', others.toLocaleString('en'))
  for (const count of smoke ? [30] : [300, 3000]) {
    set(`lateness of ${count.toLocaleString('en')} crons p50 / max`, lateness(await cronLateness(system, count)))
  }
  set('server memory, all jobs stored', `${await system.memoryMb()} MB`)
}

const floor = async (): Promise<string> => {
  const { client, end } = await startFloor()
  try {
    await emptyCalls(client, 16, size(20_000, 200)) // warm
    return perSecond(await emptyCalls(client, 16, size(30_000, 300)))
  } finally {
    await end()
  }
}

const kinds: Kind[] = []
if (only !== 'postgres') kinds.push('embedded')
if (only !== 'embedded') {
  if (await postgresAnswers()) kinds.push('postgres')
  else console.log('postgres: skipped, no server answers at ONCEJOB_TEST_DATABASE_URL')
}
const floorPerSecond = await floor()
console.log(`floor: ${floorPerSecond}`)
const columns = new Map<Kind, Cells>()
for (const kind of kinds) {
  const system = await startSystem(kind)
  const cells: Cells = new Map()
  columns.set(kind, cells)
  try {
    await measure(system, cells, (what, value) => console.log(`${kind}: ${what}: ${value}`))
  } finally {
    await system.end()
  }
}
const rows = new Set([...columns.values()].flatMap((cells) => [...cells.keys()]))
console.log(`\n|  | ${kinds.join(' | ')} |\n| --- | ${kinds.map(() => '---').join(' | ')} |`)
for (const row of rows)
  console.log(`| ${row} | ${kinds.map((kind) => columns.get(kind)?.get(row) ?? '–').join(' | ')} |`)
console.log(`\n${describeMachine()}${smoke ? ', SMOKE: the figures mean nothing' : ''}`)
