// What becomes of one message of a Java worker: bounded, read, handed to who is for it, answered, counted, logged.
import { Counter, type Registry } from 'prom-client'
import type { Clock } from '../../kernel/clock.ts'
import { DatabaseError, Outage, Refusal } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import { plainPeer, type Origin } from './networks.ts'
import { rateLimit, seldom } from './rates.ts'
import { readMessage, UnreadableMessage, type Members } from './wire.ts'

/** Longest message, in bytes: log batches are unbounded in the worker. */
export const messageLimitBytes = 16 * 1024 * 1024

export const messagePaths = {
  heartbeat: '/server/workerHeartbeat',
  status: '/server/reportInstanceStatus',
  logs: '/server/reportLog',
  cluster: '/server/queryJobCluster',
  container: '/server/queryContainer',
} as const

/** A message that is not for this server to heed; its text is logged, the sender learns nothing but that it failed. */
export class ForeignMessage extends Error {
  override readonly name = 'ForeignMessage'
}

/** Handles a message; resolves with the JSON text of the answer, or null for an empty one. */
export type Handler = (message: Members, origin: Origin) => Promise<string | null>

export type Handlers = Readonly<Record<(typeof messagePaths)[keyof typeof messagePaths], Handler>>

export interface Reply {
  readonly status: 200 | 403 | 404 | 413 | 429 | 500 | 503
  /** JSON for 200, else plain text; empty: no body. */
  readonly body: string
}

export interface MessagesNeeds {
  readonly handlers: Handlers
  readonly clock: Clock
  readonly log: Log
  readonly registry: Registry
  readonly isMine: Origin['isMine']
}

export interface Messages {
  /** Before the body of a message is read. @returns what to answer at once, or how to give the room back */
  admit(peer: string, bytes: number): Reply | (() => void)
  /** @param path without a query */
  receive(path: string, body: Buffer, peer: string): Promise<Reply>
}

// far above what the workers of one machine say: 900 runs a second are about 2,000 messages
const perPeer = { burst: 10_000, perSecond: 5_000 } as const
// bodies being read or handled at once; small ones count for their peer alone, or one peer could shut out all others
const smallBytes = 64 * 1024
const mostSmallOfPeerBytes = 2 * messageLimitBytes
const mostOfPeerBytes = 3 * messageLimitBytes
const mostBytes = 8 * messageLimitBytes
const rooms = () => {
  const taken = new Map<string, number>()
  const take = (parts: readonly { readonly of: string; readonly most: number }[], bytes: number) => {
    if (parts.some(({ of, most }) => (taken.get(of) ?? 0) + bytes > most)) return undefined
    for (const { of } of parts) taken.set(of, (taken.get(of) ?? 0) + bytes)
    let given = false
    return (): void => {
      if (given) return
      given = true
      for (const { of } of parts) {
        const left = (taken.get(of) ?? 0) - bytes
        if (left > 0) taken.set(of, left)
        else taken.delete(of)
      }
    }
  }
  return (peer: string, bytes: number): (() => void) | undefined =>
    bytes <= smallBytes
      ? take([{ of: `small ${peer}`, most: mostSmallOfPeerBytes }], bytes)
      : take(
          [
            { of: `large ${peer}`, most: mostOfPeerBytes },
            { of: 'all', most: mostBytes },
          ],
          bytes,
        )
}

type Outcome = 'ok' | 'refused' | 'unreadable' | 'foreign' | 'failed' | 'outage' | 'unknown-path'

const failed: Reply = { status: 500, body: 'Internal Server Error' }

/** Builds what stands behind the paths of the worker wire, whichever port they came in on. */
export const createMessages = ({ handlers, clock, log, registry, isMine }: MessagesNeeds): Messages => {
  const counter = new Counter({
    name: 'powerjob_worker_messages_total',
    help: 'Messages of Java workers, by path and what became of them.',
    labelNames: ['path', 'outcome'],
    registers: [registry],
  })
  const known = new Map<string, Handler>(Object.entries(handlers))
  const tell = seldom(clock, log)
  const within = rateLimit(clock, perPeer)
  const room = rooms()
  const count = (path: string, outcome: Outcome): void =>
    counter.inc({ path: known.has(path) ? path : 'other', outcome })

  const refuse = (status: Reply['status'], peer: string, reason: string): Reply => {
    count('', 'refused')
    tell('worker message refused', peer, { reason })
    return { status, body: reason }
  }
  const troubled = (error: unknown, path: string, peer: string): Reply => {
    if (error instanceof UnreadableMessage) {
      count(path, 'unreadable')
      tell('worker message not understood', peer, { path, reason: error.message.slice(0, 300) })
    } else if (error instanceof ForeignMessage || error instanceof Refusal) {
      count(path, 'foreign')
      tell('worker message not heeded', peer, { path, reason: error.message.slice(0, 300) })
      return { status: 403, body: error.message }
    } else if (error instanceof Outage || error instanceof DatabaseError) {
      count(path, 'outage')
      tell('worker message met an outage', peer, { path, err: error })
    } else {
      count(path, 'failed')
      log.error({ peer, path, err: error }, 'worker message failed')
    }
    return failed
  }
  return {
    admit: (address, bytes) => {
      const peer = plainPeer(address)
      if (bytes > messageLimitBytes)
        return refuse(413, peer, `a message may have ${messageLimitBytes} bytes, this one has ${bytes}`)
      if (!within(peer)) return refuse(429, peer, `more than ${perPeer.perSecond} messages a second from one address`)
      return room(peer, bytes) ?? refuse(503, peer, 'too many long messages, or too much of short ones, at once')
    },
    receive: async (path, body, address) => {
      const peer = plainPeer(address)
      const handler = known.get(path)
      if (handler === undefined) {
        count(path, 'unknown-path')
        return { status: 404, body: 'nothing is here' }
      }
      try {
        const answer = await handler(readMessage(body), { peer, isMine })
        count(path, 'ok')
        return { status: 200, body: answer ?? '' }
      } catch (error) {
        // top of a message: answered as the wire has it
        return troubled(error, path, peer)
      }
    },
  }
}
