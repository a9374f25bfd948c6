// Promises of the room for messages: it is bounded for each address and for all, and nobody shuts others out.
import { Registry } from 'prom-client'
import { fakeClock } from '@oncejob/testkit'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../kernel/log.ts'
import { createMessages, messageLimitBytes, messagePaths, type Handlers, type Messages } from './messages.ts'

const start = (): Messages =>
  createMessages({
    handlers: Object.fromEntries(
      Object.values(messagePaths).map((path) => [path, async () => null]),
    ) as unknown as Handlers,
    clock: fakeClock(),
    log: silentLog,
    registry: new Registry(),
    isMine: () => false,
  })

/** Lets so many begin and none end; the answer is how to end each that was let in. */
const begin = (messages: Messages, peer: string, bytes: number, times: number): (() => void)[] =>
  Array.from({ length: times }, () => messages.admit(peer, bytes)).filter((room) => typeof room === 'function')

describe('the room for messages', () => {
  it('is bounded for short ones, too, each address for itself', () => {
    const messages = start()
    const short = 64 * 1024
    const begun = begin(messages, '10.0.0.7', short, 1_000)
    expect(begun).toHaveLength((2 * messageLimitBytes) / short)
    expect(messages.admit('10.0.0.7', 1)).toMatchObject({ status: 503 })
    expect(begin(messages, '10.0.0.8', short, 10)).toHaveLength(10)
    // and it is given back once, however often that is told
    for (let i = 0; i < 3; i += 1) begun[0]?.()
    expect(begin(messages, '10.0.0.7', short, 10)).toHaveLength(1)
  })
  it('is bounded for long ones for each address and for all, and short ones pass beside them', () => {
    const messages = start()
    for (let i = 0; i < 2; i += 1) expect(begin(messages, `10.0.0.${i}`, messageLimitBytes, 10)).toHaveLength(3)
    expect(begin(messages, '10.0.0.2', messageLimitBytes, 10)).toHaveLength(2)
    expect(begin(messages, '10.0.0.3', messageLimitBytes, 10)).toHaveLength(0)
    expect(begin(messages, '10.0.0.3', 2_000, 10)).toHaveLength(10)
  })
  it('is for messages up to the limit, and so many a second', () => {
    const messages = start()
    expect(messages.admit('10.0.0.7', messageLimitBytes + 1)).toMatchObject({ status: 413 })
    const burst = begin(messages, '10.0.0.7', 0, 20_000).length
    expect(burst).toBeGreaterThan(9_990)
    expect(burst).toBeLessThanOrEqual(10_000)
    expect(messages.admit('10.0.0.7', 0)).toMatchObject({ status: 429 })
    expect(begin(messages, '10.0.0.8', 0, 1)).toHaveLength(1)
  })
})
