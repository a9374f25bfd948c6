// Promises of the event stream of a log: its format, its heartbeat, and that it ends whatever happens.
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../kernel/clock.ts'
import { silentLog } from '../../kernel/log.ts'
import type { LogEvent } from '../../logs/service.ts'
import { eventStream } from './logs.ts'

/** Sleeps end when the test says so. */
const handClock = () => {
  let wake: (() => void) | undefined
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    after: () => () => undefined,
    sleep: (_ms, signal) =>
      new Promise((resolve) => {
        wake = resolve
        signal?.addEventListener('abort', () => resolve(), { once: true })
      }),
  }
  return { clock, pass: () => wake?.() }
}
const line = { seq: 4, at: '2026-01-01T00:00:00.000Z', level: 'info', text: 'two\nlines', attempt: 1 }

async function* saying(events: readonly LogEvent[]): AsyncGenerator<LogEvent> {
  for (const event of events) yield event
}

describe('the stream of a log', () => {
  it('is server-sent events with the number as id, a line per event, and the end', async () => {
    const { clock } = handClock()
    const chunks = await Array.fromAsync(eventStream({ clock, log: silentLog }, saying([line, { end: 'failed' }])))
    expect(chunks).toEqual([
      ': following\n\n',
      `id: 4\nevent: line\ndata: ${JSON.stringify(line)}\n\n`,
      'event: end\ndata: {"state":"failed"}\n\n',
    ])
    // a line break inside a text must not break the event
    expect(chunks[1]?.split('\n')).toHaveLength(5)
  })

  it('says that it is still there when nothing happens', async () => {
    const { clock, pass } = handClock()
    const { promise, resolve } = Promise.withResolvers<void>()
    async function* late(): AsyncGenerator<LogEvent> {
      await promise
      yield { end: 'succeeded' }
    }
    const stream = eventStream({ clock, log: silentLog }, late())
    expect((await stream.next()).value).toBe(': following\n\n')
    for (let beat = 0; beat < 3; beat += 1) {
      const next = stream.next()
      pass()
      expect((await next).value).toBe(': still here\n\n')
    }
    resolve()
    expect((await stream.next()).value).toBe('event: end\ndata: {"state":"succeeded"}\n\n')
    expect((await stream.next()).done).toBe(true)
  })

  it('ends without the event end when reading fails, so that the reader comes again', async () => {
    async function* failing(): AsyncGenerator<LogEvent> {
      yield line
      throw new Error('away')
    }
    const chunks = await Array.fromAsync(eventStream({ clock: handClock().clock, log: silentLog }, failing()))
    expect(chunks).toHaveLength(2)
    expect(chunks.join('')).not.toContain('event: end')
  })

  it('ends what it follows when the reader goes away', async () => {
    let ended = false
    async function* watched(): AsyncGenerator<LogEvent> {
      try {
        for (;;) yield line
      } finally {
        ended = true
      }
    }
    const stream = eventStream({ clock: handClock().clock, log: silentLog }, watched())
    await stream.next()
    await stream.next()
    await stream.return(undefined)
    expect(ended).toBe(true)
  })
})
