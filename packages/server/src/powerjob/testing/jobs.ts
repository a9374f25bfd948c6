// Requests of this wire for tests: as the real client writes them, and arbitrary ones.
import fc from 'fast-check'
import type { ReadJob } from '../job-request.ts'

/** A job as client 5.1.1 sends it, without what it leaves null. */
export const sentJob = (change: Record<string, unknown> = {}): Record<string, unknown> => ({
  jobName: 'nightly',
  appId: 1,
  timeExpressionType: 'API',
  executeType: 'STANDALONE',
  processorType: 'BUILT_IN',
  processorInfo: 'com.acme.Nightly',
  maxInstanceNum: 0,
  concurrency: 5,
  instanceTimeLimit: 0,
  instanceRetryNum: 0,
  taskRetryNum: 0,
  minCpuCores: 0,
  minMemorySpace: 0,
  minDiskSpace: 0,
  enable: true,
  maxWorkerCount: 0,
  dispatchStrategy: 'HEALTH_FIRST',
  ...change,
})

const text = fc
  .string({ unit: 'grapheme-composite', maxLength: 20 })
  .filter((one) => !one.includes('\0') && one.isWellFormed())
const some = fc.oneof(fc.constant(null), text)
const int = fc.oneof(fc.integer({ min: -3, max: 12 }), fc.integer())
const double = fc.oneof(
  fc.constantFrom(0, 0.5, 1.25, -1),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0),
)

const day = 86_400_000
/** Far enough from any clock that runs these tests. */
const farMs = Date.UTC(2040, 0, 1)

const time = fc.constantFrom<[ReadJob['timeExpressionType'], string | null]>(
  ['API', null],
  ['API', 'whatever'],
  ['WORKFLOW', null],
  ['WORKFLOW', ''],
  ['CRON', '0 30 2 * * ?'],
  ['CRON', '  0 0 3 13 * FRI '],
  ['CRON', '0 0 3 L * ? 2050'],
  ['FIXED_RATE', '5000'],
  ['FIXED_RATE', '+050'],
  ['FIXED_DELAY', '120000'],
  [
    'DAILY_TIME_INTERVAL',
    "{'interval':30,'startTimeOfDay':'9:0:0','endTimeOfDay':'18:00:00','intervalUnit':'MINUTES','daysOfWeek':[3,1]}",
  ],
  ['DAILY_TIME_INTERVAL', '{"interval":1,"startTimeOfDay":"00:00:00","endTimeOfDay":"23:59:59"}'],
)

const lifeCycle = fc.oneof(
  fc.constant(null),
  fc.record({
    start: fc.constantFrom(null, -5, 0, 1, farMs, farMs + 7),
    end: fc.constantFrom(null, farMs + day * 8000, 253_402_300_800_000, Number.MAX_SAFE_INTEGER),
  }),
)

/** Any request that is valid, as JSON has it; `id` is left to the test. */
export const anyJob: fc.Arbitrary<Record<string, unknown>> = fc
  .record({
    jobName: text.filter((one) => one !== ''),
    jobDescription: some,
    jobParams: some,
    time,
    executeType: fc.constantFrom('STANDALONE', 'BROADCAST', 'MAP', 'MAP_REDUCE'),
    processorType: fc.constantFrom('BUILT_IN', 'EXTERNAL', 'SHELL', 'PYTHON'),
    processorInfo: text.filter((one) => one !== ''),
    maxInstanceNum: int,
    concurrency: int,
    instanceTimeLimit: fc.oneof(int, fc.maxSafeInteger()),
    instanceRetryNum: int,
    taskRetryNum: int,
    minCpuCores: double,
    minMemorySpace: double,
    minDiskSpace: double,
    enable: fc.boolean(),
    designatedWorkers: fc.oneof(some, fc.constantFrom('a,b', ' a , b,a', ',', '10.0.0.1:27777')),
    maxWorkerCount: int,
    notifyUserIds: fc.oneof(fc.constant(null), fc.array(fc.integer(), { maxLength: 3 })),
    extra: some,
    dispatchStrategy: fc.constantFrom('HEALTH_FIRST', 'RANDOM', 'SPECIFY'),
    dispatchStrategyConfig: some,
    lifeCycle,
    alarmConfig: fc.oneof(
      fc.constant(null),
      fc.record({ alertThreshold: int, statisticWindowLen: int, silenceWindowLen: int }),
    ),
    tag: some,
    logConfig: fc.oneof(
      fc.constant(null),
      fc.record({
        type: fc.constantFrom(null, 0, 1, 2, 3, 4, 999, 7),
        level: fc.constantFrom(null, 0, 1, 2, 3, 4, 99, 5),
        loggerName: some,
      }),
    ),
    advancedRuntimeConfig: fc.oneof(
      fc.constant(null),
      fc.record({ taskTrackerBehavior: fc.constantFrom(null, 0, 1, 11) }),
    ),
  })
  .map(({ time: [timeExpressionType, timeExpression], ...rest }) => ({ ...rest, timeExpressionType, timeExpression }))

/** Settings of a property: the seed of a failure is printed, and comes back through ONCEJOB_SEED. */
export const runsOf = (numRuns: number): { numRuns: number; seed?: number } => {
  const seed = process.env['ONCEJOB_SEED']
  return { numRuns, ...(seed === undefined ? {} : { seed: Number(seed) }) }
}
