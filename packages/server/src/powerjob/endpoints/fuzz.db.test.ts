// Whatever a client sends for jobs and instances is answered or refused, and what is refused leaves nothing behind.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../../storage/sql.ts'
import { createEndpointRig, type EndpointRig } from '../testing/endpoint-rig.ts'
import { anyJob, runsOf, sentJob } from '../testing/jobs.ts'

let database: TestDatabase
let rig: EndpointRig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createEndpointRig(database.db)
})
afterAll(() => database.close())

const odd = fc.oneof(
  fc.constantFrom<unknown[]>(
    null,
    '',
    ' ',
    0,
    -1,
    1e21,
    -1e308,
    2_147_483_648,
    '9223372036854775807',
    '-9223372036854775808',
    '1e3',
    'CRON',
    'cron',
    '2',
    true,
    [],
    {},
    [null],
    ['x'],
    { start: 'x' },
    { start: 9e15, end: '9223372036854775807' },
    '%',
    '\\',
    "'; drop table oncejob.job; --",
    '{"interval":1}',
    "{'interval':1e9,'startTimeOfDay':'0:0:0','endTimeOfDay':'0:0:0','intervalUnit':'DAYS'}",
    '0 0 0 31 2 ?',
    '* * * * * ?',
    '0 0 0 1W,LW,L-3 * 2#5 2099',
    '@yearly',
    'constructor',
  ),
  fc.jsonValue({ maxDepth: 2 }),
  fc.string({ unit: 'grapheme', maxLength: 8 }),
)
// what the transport keeps from endpoints: texts that no database can store, and numbers that JavaScript has rounded
const isSound = (value: unknown): boolean => {
  const text = JSON.stringify(value)
  return !/\\u(0000|d[89a-f])/i.test(text) && !text.includes('__proto__')
}

const jobFields = [
  ...Object.keys(sentJob()),
  'id',
  'timeExpression',
  'lifeCycle',
  'alarmConfig',
  'logConfig',
  'notifyUserIds',
]
const jobQueries =
  'idEq,idLt,idGt,jobNameEq,jobNameLike,jobDescriptionLike,jobParamsLike,timeExpressionTypeIn,executeTypeIn,processorTypeIn,statusIn,processorInfoEq,processorInfoLike,notifyUserIdsLike,nextTriggerTimeGt,nextTriggerTimeLt,gmtCreateLt,gmtCreateGt,gmtModifiedLt,gmtModifiedGt,dispatchStrategyEq,tagEq'.split(
    ',',
  )
const runQueries =
  'index,pageSize,sortBy,asc,instanceIdEq,instanceIdLt,instanceIdGt,jobIdEq,statusIn,gmtCreateLt,gmtCreateGt,gmtModifiedLt,gmtModifiedGt'.split(
    ',',
  )

const some = (names: readonly string[]) =>
  fc.dictionary(fc.constantFrom(...names), odd, { maxKeys: 4, noNullPrototype: true })
const formText = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '0',
    '-1',
    '1',
    '2',
    '007',
    '1.5',
    '1e3',
    'x',
    '9223372036854775807',
    '99999999999999999999',
    '٣',
  ),
  fc.string({ unit: 'grapheme', maxLength: 6 }),
)
const form = (...names: string[]) => fc.dictionary(fc.constantFrom(...names), formText, { noNullPrototype: true })

const calls = fc.oneof(
  fc.tuple(
    fc.constant('/saveJob'),
    fc.oneof(
      some(jobFields),
      fc.tuple(anyJob, some(jobFields)).map(([job, more]) => ({ ...job, appId: 1, ...more })),
    ),
  ),
  fc.tuple(fc.constant('/queryJob'), some(jobQueries)),
  fc.tuple(fc.constant('/queryInstance'), some(runQueries)),
  fc.tuple(
    fc.constantFrom(
      '/copyJob',
      '/exportJob',
      '/fetchJob',
      '/fetchAllJob',
      '/deleteJob',
      '/disableJob',
      '/enableJob',
      '/runJob',
    ),
    form('jobId', 'delay', 'instanceParams'),
  ),
  fc.tuple(
    fc.constantFrom('/stopInstance', '/cancelInstance', '/retryInstance', '/fetchInstanceStatus', '/fetchInstanceInfo'),
    form('instanceId'),
  ),
)

/** Everything that calls can make, in numbers. */
const census = async (): Promise<unknown> => {
  const [row] = await database.db.query(sql`
    select (select count(*) from oncejob.job) as jobs, (select count(*) from oncejob.schedule) as schedules,
      (select count(*) from oncejob.run) as runs, (select count(*) from oncejob.audit) as audits,
      (select coalesce(sum(version), 0) from oncejob.job) as versions`)
  return row
}

it('random bodies and forms are answered or refused in the words of the wire, and nothing is half made', async () => {
  const appId = await rig.app()
  const told = { appId }
  const job = (await rig.send('/saveJob', sentJob({ appId }), told)) as number
  await rig.send('/runJob', { jobId: job }, told)
  let answered = 0
  let refused = 0
  await fc.assert(
    fc.asyncProperty(calls, async ([path, sent]) => {
      if (!isSound(sent)) return
      const before = await census()
      // anything but a refusal is thrown
      const no = await rig.no(path, sent, told)
      if (no === 'nothing') {
        answered += 1
        return
      }
      refused += 1
      expect(no).toMatch(/^[A-Z]\w+Exception: ./)
      expect(await census()).toEqual(before)
    }),
    runsOf(400),
  )
  expect(answered).toBeGreaterThan(40)
  expect(refused).toBeGreaterThan(40)
  // each job has its schedule, and each can still be shown
  const jobs = (await rig.send('/fetchAllJob', {}, told)) as unknown[]
  expect(jobs.length).toBeGreaterThan(1)
  const [orphans] = await database.db.query<{ n: number }>(
    sql`select count(*)::int as n from oncejob.job j where not exists (select from oncejob.schedule s where s.job_id = j.id)`,
  )
  expect(orphans?.n).toBe(0)
})
