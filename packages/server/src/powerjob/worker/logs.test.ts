// Promises of online logs before they are stored: which lines there are, whose they are, and in which order.
import { describe, expect, it } from 'vitest'
import type { LoggedAttempt } from '../../storage/logs.ts'
import { attemptOf, readLines, sorted, type JavaLine } from './logs.ts'

const address = '10.0.0.7:27777'
const attempt = (lease: number, startedMs: number, more: Partial<LoggedAttempt> = {}): LoggedAttempt => ({
  address,
  runId: 5,
  appId: 1,
  lease,
  startedMs,
  own: true,
  ...more,
})
const line = (atMs: number, text: string, more: Partial<JavaLine> = {}): JavaLine => ({
  address,
  runId: 5,
  atMs,
  level: 'info',
  text,
  ...more,
})

describe('a log message', () => {
  it('gives its lines with mapped levels and whole texts, and counts what belongs to no possible run', () => {
    const { lines, dropped } = readLines({
      workerAddress: address,
      instanceLogContents: [
        { instanceId: 5, logTime: 1000, logLevel: 2, logContent: 'hello\n\tat x' },
        { instanceId: '5', logTime: '1001', logLevel: '4', logContent: 'bad' },
        { instanceId: 5, logLevel: 77 },
        { instanceId: '1004656552407203904', logTime: 1, logContent: 'of a foreign server' },
        { logContent: 'of nothing' },
        'no object',
      ],
    })
    expect(lines).toEqual([line(1000, 'hello\n\tat x'), line(1001, 'bad', { level: 'error' }), line(0, '')])
    expect(dropped).toBe(2)
  })
  it('is bounded: texts are cut visibly, entries are counted', () => {
    const { lines, dropped } = readLines({
      workerAddress: address,
      instanceLogContents: Array.from({ length: 2_005 }, () => ({ instanceId: 5, logContent: 'x'.repeat(70_000) })),
    })
    expect(lines).toHaveLength(2_000)
    expect(dropped).toBe(5)
    expect(lines[0]?.text).toHaveLength(65_536)
    expect(lines[0]?.text.endsWith('x …')).toBe(true)
  })
  it('without a worker is not understood', () => {
    expect(() => readLines({ instanceLogContents: [] })).toThrow('names no worker')
  })
})

describe('a line belongs to', () => {
  const [first, second] = [attempt(1, 1_000), attempt(2, 9_000)]
  it('the attempt of its worker that was under way when it was written, also when it comes late', () => {
    expect(attemptOf([first, second], 5_000)).toBe(first)
    expect(attemptOf([first, second], 9_001)).toBe(second)
    expect(attemptOf([first, second], 8_990)).toBe(second)
    expect(attemptOf([first, second], 10)).toBe(first)
  })
  it('the latest attempt of its own worker, when another worker has the run now', () => {
    expect(attemptOf([first, attempt(2, 9_000, { own: false })], 20_000)).toBe(first)
  })
  it('the attempt of which its worker does a part', () => {
    const foreign = attempt(2, 9_000, { own: false })
    expect(attemptOf([attempt(1, 1_000, { own: false }), foreign], 20_000)).toBe(foreign)
    expect(attemptOf([], 20_000)).toBeUndefined()
  })
})

describe('lines that came together', () => {
  it('are sorted by the time of their worker, and stay as they came within one millisecond', () => {
    const { requests, dropped } = sorted(
      [line(30, 'c'), line(10, 'a'), line(20, 'b1'), line(20, 'b2'), line(10, 'unknown', { runId: 6 })],
      [attempt(1, 0)],
      () => 0,
    )
    expect(dropped).toBe(1)
    const [request, ...more] = requests.values()
    expect(more).toEqual([])
    expect(request).toMatchObject({ appId: 1, worker: address })
    expect(request?.entries.map(({ text }) => text)).toEqual(['a', 'b1', 'b2', 'c'])
  })
  it('are judged by the clock of their worker, as far as it is known to be wrong', () => {
    const attempts = [attempt(1, 1_000), attempt(2, 9_000)]
    const { requests } = sorted([line(105_000, 'of the first')], attempts, () => 100_000)
    expect([...requests.values()][0]?.entries[0]?.lease).toBe(1)
  })
})
