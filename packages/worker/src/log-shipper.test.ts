// Lines of run logs: batched, bounded, never in the way of a result.
import { expect, test } from 'vitest'
import { Outage, ServerRefused } from './errors.ts'
import { silentLog } from './log.ts'
import { LogShipper, type LogEntry } from './log-shipper.ts'
import { createRunLog } from './run-log.ts'
import { FakeClock } from './testing/fake-clock.ts'
import { until } from './testing/until.ts'

const setUp = () => {
  const clock = new FakeClock()
  const batches: LogEntry[][] = []
  const server = { reply: async (): Promise<void> => undefined }
  const shipper = new LogShipper({
    clock,
    random: { next: () => 0.5 },
    log: silentLog,
    servers: {
      call: async ({ body }) => {
        batches.push((JSON.parse(body ?? '') as { entries: LogEntry[] }).entries)
        return server.reply()
      },
    },
  })
  const put = (text: string, lease = 2): void => shipper.put({ runId: 1, lease, at: 0, level: 'info', text })
  const texts = (): string[] => batches.flat().map(({ text }) => text)
  return { clock, batches, server, shipper, put, texts }
}

const tick = (clock: FakeClock) => () => clock.advance(200)

test('lines go in batches, in order', async () => {
  const { clock, batches, put, texts } = setUp()
  const lines = Array.from({ length: 4500 }, (_, i) => `line ${i}`)
  for (const line of lines) put(line)
  await until('all lines', () => texts().length === lines.length, tick(clock))
  expect(texts()).toEqual(lines)
  expect(batches.map((batch) => batch.length)).toEqual([2000, 2000, 500])
})

test('a result waits for its lines, and they do not wait to be gathered', async () => {
  const { batches, shipper, put } = setUp()
  put('the last words')
  await shipper.tried()
  expect(batches).toHaveLength(1)
  await shipper.tried()
})

test('a result does not wait for lines that can not be sent', async () => {
  const { clock, server, shipper, put, texts } = setUp()
  server.reply = () => Promise.reject(new Outage('gone', 0))
  put('kept')
  await shipper.tried()
  await shipper.tried()
  server.reply = async () => undefined
  await until('the line arrives', () => texts().length >= 2, tick(clock))
  expect(new Set(texts())).toEqual(new Set(['kept']))
})

test('lines that do not fit the buffer are dropped, and the log says how many and where', async () => {
  const { clock, server, put, texts } = setUp()
  const gate = Promise.withResolvers<void>()
  server.reply = () => gate.promise
  put('first')
  await until('the first line is under way', () => texts().length === 1, tick(clock))
  for (let i = 0; i < 10_007; i += 1) put(`line ${i}`)
  put('of another run', 3)
  gate.resolve()
  const note = "[7 log lines were dropped here: the worker's log buffer was full]"
  await until('all that was kept', () => texts().length >= 10_003, tick(clock))
  expect(texts()).toContain(note)
  expect(texts()).toContain("[1 log line was dropped here: the worker's log buffer was full]")
  expect(texts()).toHaveLength(10_003)
})

test('lines that the server can not read are let go, later ones are sent', async () => {
  const { clock, server, put, texts } = setUp()
  server.reply = () => Promise.reject(new ServerRefused(400, 'REQUEST_INVALID', 'no'))
  put('bad')
  await until('it is tried', () => texts().length === 1, tick(clock))
  server.reply = async () => undefined
  put('good')
  await until('the good line', () => texts().length === 2, tick(clock))
  expect(texts()).toEqual(['bad', 'good'])
})

test('closing sends what is there and takes nothing more', async () => {
  const { shipper, put, texts } = setUp()
  put('last')
  await shipper.close()
  put('too late')
  await shipper.close()
  expect(texts()).toEqual(['last'])
})

test('a line is written from the level of the job up, with its facts as JSON', () => {
  const written = (minimum: string): string[] => {
    const lines: string[] = []
    const log = createRunLog(
      { runId: 1, lease: 2, minimum },
      () => 1.5,
      (entry) => lines.push(`${entry.at} ${entry.level} ${entry.text}`),
    )
    log.debug('d')
    log.info('i', { rows: 3, big: 10n })
    log.warn('w')
    log.error('e')
    return lines
  }
  expect(written('debug')).toEqual(['1 debug d', '1 info i {"rows":3,"big":"10"}', '1 warn w', '1 error e'])
  expect(written('warn')).toEqual(['1 warn w', '1 error e'])
  expect(written('off')).toEqual([])
  expect(written('a level of the future')).toHaveLength(3)
})

test('nothing that is logged can fail a run', () => {
  const lines: string[] = []
  const log = createRunLog(
    { runId: 1, lease: 2, minimum: 'info' },
    () => 0,
    (entry) => lines.push(entry.text),
  )
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  log.info('cycle', cycle)
  log.info(undefined as unknown as string)
  log.info('\u0000\uD800 and more')
  log.info('x'.repeat(100_000))
  expect(lines[0]).toContain('facts could not be written')
  expect(lines[1]).toBe('undefined')
  expect(lines[2]).toBe('\uFFFD\uFFFD and more')
  expect(lines[3]).toHaveLength(65_536)
})
