// What becomes of everything that a processor can return or throw.
import { describe, expect, test } from 'vitest'
import { AttemptTimedOut, LeaseLost, RetryLater, StopRequested, TerminalError } from './errors.ts'
import { describeError, verdictOn, type Ended } from './outcome.ts'

const hand = { runId: 1, lease: 2 }
const returned = (value: unknown): Ended => ({ kind: 'returned', value })
const threw = (error: unknown): Ended => ({ kind: 'threw', error })
const report = (ended: Ended, maxBytes = 1000) => verdictOn(hand, ended, undefined, maxBytes)

describe('a result', () => {
  test('is reported as it is', () => {
    expect(report(returned({ sum: 5 }))).toEqual({ ...hand, outcome: 'succeeded', result: { sum: 5 } })
  })

  test('may be left out', () => {
    expect(report(returned(undefined))).toEqual({ ...hand, outcome: 'succeeded' })
  })

  test('may be null, false or an empty text', () => {
    for (const value of [null, false, '', 0]) expect(report(returned(value))).toMatchObject({ result: value })
  })

  test('that JSON can not express fails the attempt and says why', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    expect(report(returned({ big: 1n }))).toMatchObject({ outcome: 'failed', error: { code: 'RESULT_NOT_JSON' } })
    expect(report(returned(cycle))).toMatchObject({ outcome: 'failed', error: { code: 'RESULT_NOT_JSON' } })
    const broken = { toJSON: () => JSON.parse('{') as unknown }
    expect(report(returned(broken))).toMatchObject({ outcome: 'failed', error: { code: 'RESULT_NOT_JSON' } })
  })

  test('that is too large is cut to a text that fits, and says so', () => {
    const value = { text: 'é"\\\n😀'.repeat(500) }
    for (const maxBytes of [20, 99, 100, 101, 102, 103, 1000]) {
      const cut = report(returned(value), maxBytes)
      expect(cut).toMatchObject({ outcome: 'succeeded', resultTruncated: true })
      const result = typeof cut === 'object' && 'result' in cut ? cut.result : undefined
      expect(Buffer.byteLength(JSON.stringify(result))).toBeLessThanOrEqual(maxBytes)
      expect(JSON.stringify(value).startsWith(String(result))).toBe(true)
      expect(String(result).isWellFormed()).toBe(true)
    }
  })

  test('that is a long text keeps its own beginning, without a quote', () => {
    expect(report(returned('a'.repeat(50)), 12)).toMatchObject({ result: 'a'.repeat(10), resultTruncated: true })
  })

  test('of exactly the limit is whole', () => {
    expect(report(returned('a'.repeat(10)), 12)).toEqual({ ...hand, outcome: 'succeeded', result: 'a'.repeat(10) })
  })
})

describe('an error', () => {
  test('gives its own code when that is a text, else its name', () => {
    expect(describeError(Object.assign(new Error('no file'), { code: 'ENOENT' }))).toMatchObject({ code: 'ENOENT' })
    expect(describeError(new RangeError('too far'))).toMatchObject({ code: 'RangeError', message: 'too far' })
    expect(describeError(Object.assign(new Error('odd'), { code: 7 }))).toMatchObject({ code: 'Error' })
  })

  test('carries its stack and its cause', () => {
    const { stack } = describeError(new Error('outer', { cause: new Error('the inner one') }))
    expect(stack).toContain('outer')
    expect(stack).toContain('the inner one')
  })

  test('that is none is a failed attempt all the same', () => {
    const hostile = new Proxy(new Error('x'), {
      get: () => JSON.parse('{') as unknown,
      getPrototypeOf: () => JSON.parse('{') as object,
    })
    for (const thrown of ['text', undefined, null, 42, { a: 1 }, Symbol('s'), 10n, () => 1, hostile]) {
      const made = report(threw(thrown))
      expect(made).toMatchObject({ outcome: 'failed', error: { code: 'NOT_AN_ERROR' } })
      expect(JSON.stringify(made)).toContain('NOT_AN_ERROR')
    }
  })

  test('is cut to what the protocol allows and to what a database can hold', () => {
    const error = Object.assign(new Error(`\u0000\uD800${'m'.repeat(20_000)}`), { code: 'c'.repeat(200) })
    error.stack = 's'.repeat(50_000)
    const made = describeError(error)
    expect([made.code.length, made.message.length, made.stack?.length]).toEqual([100, 8192, 16_384])
    expect(made.message.isWellFormed()).toBe(true)
    expect(made.message).not.toContain('\u0000')
  })

  test('that is terminal says so, with its code', () => {
    expect(report(threw(new TerminalError('never', { code: 'NO_SUCH_ORDER' })))).toMatchObject({
      outcome: 'failed',
      terminal: true,
      error: { code: 'NO_SUCH_ORDER', message: 'never' },
    })
  })

  test('that asks for later says when', () => {
    expect(report(threw(new RetryLater('busy', { afterMs: 1500.2 })))).toMatchObject({
      outcome: 'failed',
      retryAfterMs: 1501,
      error: { code: 'RETRY_LATER' },
    })
    expect(() => new RetryLater('busy', { afterMs: -1 })).toThrow(RangeError)
  })
})

describe('after an abort', () => {
  const after = (reason: Parameters<typeof verdictOn>[2], ended: Ended) => verdictOn(hand, ended, reason, 1000)

  test('a time-out stays a time-out, however the processor ended', () => {
    for (const ended of [returned(1), threw(new Error('x')), threw(new TerminalError('x'))]) {
      expect(after(new AttemptTimedOut(50), ended)).toMatchObject({
        outcome: 'timed-out',
        error: { code: 'ATTEMPT_TIMED_OUT' },
      })
    }
  })

  test('a stop is a stop when the processor threw, and a success when it had done its work', () => {
    expect(after(new StopRequested('server'), threw(new Error('x')))).toMatchObject({ outcome: 'stopped' })
    expect(after(new StopRequested('server'), returned(1))).toMatchObject({ outcome: 'succeeded', result: 1 })
  })

  test('what a shut-down cuts short is left to the server and uses up no retry', () => {
    expect(after(new StopRequested('worker'), threw(new Error('x')))).toBe('left')
    expect(after(new StopRequested('worker'), returned(1))).toMatchObject({ outcome: 'succeeded' })
    expect(after(new StopRequested('worker'), threw(new TerminalError('x')))).toMatchObject({ terminal: true })
  })

  test('a lost lease reports nothing at all', () => {
    expect(after(new LeaseLost('lost'), returned(1))).toBe('dropped')
    expect(after(new LeaseLost('lost'), threw(new Error('x')))).toBe('dropped')
  })

  test('a lapsed lease reports what was finished; what was cut short is left to the server', () => {
    expect(after(new LeaseLost('lapsed'), returned(1))).toMatchObject({ outcome: 'succeeded' })
    expect(after(new LeaseLost('lapsed'), threw(new Error('x')))).toBe('left')
    expect(after(new LeaseLost('lapsed'), threw(new TerminalError('x')))).toMatchObject({ terminal: true })
  })

  test('an ended session reports only what was finished: the server counts the rest as lost by itself', () => {
    expect(after(new LeaseLost('session-ended'), returned(1))).toMatchObject({ outcome: 'succeeded' })
    expect(after(new LeaseLost('session-ended'), threw(new Error('x')))).toBe('dropped')
  })
})
