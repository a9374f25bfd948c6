// Nothing that was finished is let go before a server has answered for it.
import type { Report } from '@oncejob/protocol'
import { expect, test } from 'vitest'
import { Outage, ServerRefused } from './errors.ts'
import { silentLog } from './log.ts'
import { Reporter, type DeliveryAnswer } from './reporter.ts'
import { FakeClock } from './testing/fake-clock.ts'
import { until } from './testing/until.ts'

const reportOf = (lease: number, result: unknown = lease): Report => ({
  runId: lease,
  lease,
  outcome: 'succeeded',
  result,
})

type Reply = (reports: readonly Report[]) => unknown

const accept: Reply = (reports) => ({
  answers: reports.map(({ runId, lease }) => ({ runId, lease, answer: 'accepted' })),
})

const setUp = (first: Reply = accept) => {
  const clock = new FakeClock()
  const batches: Report[][] = []
  const server = { reply: first }
  const answers = new Map<number, DeliveryAnswer>()
  const warnings: string[] = []
  const reporter = new Reporter({
    clock,
    random: { next: () => 0.5 },
    log: { ...silentLog, warn: (_facts, message) => warnings.push(message) },
    servers: {
      count: 1,
      call: async ({ body }) => {
        const { reports } = JSON.parse(body ?? '') as { reports: Report[] }
        batches.push(reports)
        return server.reply(reports)
      },
    },
  })
  const add = (report: Report): void => reporter.add(report, (answer) => answers.set(report.lease, answer))
  const delivered = (count: number): Promise<void> =>
    until(
      `${count} answers`,
      () => answers.size === count,
      () => clock.advance(500),
    )
  return { clock, batches, server, answers, warnings, reporter, add, delivered }
}

const fail =
  (error: Error): Reply =>
  () => {
    throw error
  }

test('what ends while a request is under way goes together with the next', async () => {
  const gate = Promise.withResolvers<void>()
  const { batches, add, delivered } = setUp(async (reports) => {
    await gate.promise
    return accept(reports)
  })
  add(reportOf(1))
  await until('the first request', () => batches.length === 1)
  for (let lease = 2; lease <= 1500; lease += 1) add(reportOf(lease))
  gate.resolve()
  await delivered(1500)
  expect(batches.map((batch) => batch.length)).toEqual([1, 1000, 499])
})

test('what no server answers is kept and sent again until one does', async () => {
  const { batches, server, answers, clock, reporter, warnings, add, delivered } = setUp(fail(new Outage('gone', 0)))
  add(reportOf(1))
  await until(
    'twenty tries',
    () => batches.length >= 20,
    () => clock.advance(1000),
  )
  add(reportOf(2))
  expect(reporter.undelivered).toBe(2)
  server.reply = accept
  await delivered(2)
  expect([...answers.values()]).toEqual(['accepted', 'accepted'])
  expect(reporter.undelivered).toBe(0)
  expect(warnings).toEqual(['results could not be delivered, kept'])
})

test('a report that breaks the server does not hold up the others', async () => {
  const poisoned: Reply = (reports) => {
    if (reports.some(({ lease }) => lease === 5)) throw new Outage('BUG', 500)
    return accept(reports)
  }
  const { server, reporter, add, delivered } = setUp(poisoned)
  for (let lease = 1; lease <= 20; lease += 1) add(reportOf(lease))
  await delivered(19)
  expect(reporter.undelivered).toBe(1)
  server.reply = accept
  await delivered(20)
})

test('a report that the server can not read becomes a failed attempt, and its neighbours are delivered', async () => {
  const refused: Reply = (reports) => {
    const bad = reports.some((report) => report.lease === 3 && report.outcome === 'succeeded')
    if (bad) throw new ServerRefused(400, 'REQUEST_INVALID', 'no')
    return accept(reports)
  }
  const { batches, answers, add, delivered } = setUp(refused)
  for (let lease = 1; lease <= 9; lease += 1) add(reportOf(lease))
  await delivered(9)
  expect(answers.get(3)).toBe('accepted')
  const last = batches.flat().findLast(({ lease }) => lease === 3)
  expect(last).toMatchObject({ outcome: 'failed', error: { code: 'RESULT_REFUSED' } })
})

test('a report that is refused even as a failure is let go and said to be', async () => {
  const { answers, reporter, add, delivered } = setUp(fail(new ServerRefused(400, 'REQUEST_INVALID', 'no')))
  add(reportOf(1))
  await delivered(1)
  expect(answers.get(1)).toBe('refused')
  expect(reporter.undelivered).toBe(0)
})

test('a token that stops working is an outage: results wait for a new one', async () => {
  const { server, batches, clock, add, delivered } = setUp(fail(new ServerRefused(401, 'TOKEN_INVALID', 'no')))
  add(reportOf(1))
  await until(
    'some tries',
    () => batches.length >= 5,
    () => clock.advance(1000),
  )
  server.reply = accept
  await delivered(1)
})

test('an item that the answer leaves out is sent again', async () => {
  const { batches, server, clock, add, delivered } = setUp(() => ({ answers: [] }))
  add(reportOf(1))
  await until(
    'some tries',
    () => batches.length >= 3,
    () => clock.advance(1000),
  )
  server.reply = accept
  await delivered(1)
})

test('large results are split over several requests', async () => {
  const { batches, add, delivered } = setUp()
  for (let lease = 1; lease <= 8; lease += 1) add(reportOf(lease, 'x'.repeat(1_000_000)))
  await delivered(8)
  expect(Math.max(...batches.map((batch) => JSON.stringify(batch).length))).toBeLessThan(8_000_000)
  expect(batches.length).toBeGreaterThan(1)
})

test('lost and unknown answers are warned of and end the matter', async () => {
  const { answers, warnings, add, delivered } = setUp((reports) => ({
    answers: reports.map(({ runId, lease }) => ({ runId, lease, answer: lease === 1 ? 'lost' : 'unknown' })),
  }))
  add(reportOf(1))
  add(reportOf(2))
  await delivered(2)
  expect([answers.get(1), answers.get(2)]).toEqual(['lost', 'unknown'])
  expect(warnings).toEqual(['result was not wanted', 'result was not wanted'])
})

test('finishing gives up when no server has answered for so long, and says how many results that cost', async () => {
  const { clock, reporter, batches, add } = setUp(fail(new Outage('gone', 0)))
  for (let lease = 1; lease <= 3; lease += 1) add(reportOf(lease))
  const finished: { given?: number } = {}
  void reporter.finish(30_000).then((given) => (finished.given = given))
  clock.advance(29_000)
  await until('a try', () => batches.length > 0)
  expect(finished.given).toBeUndefined()
  await until(
    'finishing',
    () => finished.given !== undefined,
    () => clock.advance(1000),
  )
  expect(finished.given).toBe(3)
})
