// Carries messages to Java workers over kept connections (contract 2.2): each is sent at most once, and what became of it is told.
import { connect } from 'node:net'
import { Pool } from 'undici'
import type { Clock, Millis } from '../../kernel/clock.ts'
import { Outage } from '../../kernel/errors.ts'
import type { AskReply, SendOutcome } from './api.ts'
import { readAddress } from './networks.ts'

/** What is at an address: someone listens, nobody does, or it can not be told. */
export type Presence = 'listening' | 'refused' | 'unreachable'

export interface Courier {
  /** Sends a message and waits until it is taken. A slow worker is no failure: it may be loading a container. */
  tell(address: string, path: string, body: unknown): Promise<SendOutcome>
  /** @throws Outage */
  ask(address: string, path: string, body: unknown): Promise<AskReply>
  /** Opens a connection and closes it again. */
  probe(address: string): Promise<Presence>
  /** Told when a connection to an address was ended by the other side: perhaps its process is gone. */
  onBroken(heard: (address: string) => void): void
  close(): Promise<void>
}

const connectMs: Millis = 3_000
const askMs: Millis = 5_000
// loading a processor may take a download of 300 s
export const tellMs: Millis = 330_000
// well below the 300 s after which a worker closes it
const idleMs: Millis = 120_000
const mostConnections = 64
const mostAnswerBytes = 16 * 1024 * 1024

const codeOf = (error: unknown): string => {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : ''
}

/** Nothing was sent, because there was no connection to send it on. The addresses of one host name fail together. */
const isRefusal = (error: unknown): boolean => {
  if (error instanceof AggregateError) return error.errors.every(isRefusal)
  if (codeOf(error) === 'UND_ERR_CONNECT_TIMEOUT') return true
  const call: unknown = error instanceof Error && 'syscall' in error ? error.syscall : undefined
  return call === 'connect' || call === 'getaddrinfo'
}

const probeOnce = (address: string): Promise<Presence> => {
  const target = readAddress(address)
  if (target === undefined) return Promise.resolve('unreachable')
  return new Promise((resolve) => {
    const socket = connect({ host: target.host, port: target.port, timeout: connectMs })
    const end = (presence: Presence): void => {
      socket.destroy()
      resolve(presence)
    }
    socket.once('connect', () => end('listening'))
    socket.once('timeout', () => end('unreachable'))
    socket.once('error', (error) => end(codeOf(error) === 'ECONNREFUSED' ? 'refused' : 'unreachable'))
  })
}

const isMembers = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads an AskResponse: its data are base64url of their JSON. @throws Outage */
const replyOf = (text: string): AskReply => {
  try {
    const answer: unknown = JSON.parse(text)
    if (isMembers(answer)) {
      const { success, data, message } = answer
      if (success !== true) return { success: false, message: typeof message === 'string' ? message : 'refused' }
      if (typeof data !== 'string') return { success: true }
      const decoded: unknown = JSON.parse(Buffer.from(data, 'base64url').toString('utf8'))
      return { success: true, data: decoded }
    }
  } catch (error) {
    // translated below
    throw new Outage('the answer of the worker was unreadable', { cause: error })
  }
  throw new Outage('the answer of the worker was unreadable')
}

/** The body of an answer, up to the limit. @throws Outage when it is longer */
const textOf = async (body: AsyncIterable<unknown>): Promise<string> => {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of body) {
    if (!Buffer.isBuffer(part)) continue
    bytes += part.length
    if (bytes > mostAnswerBytes) throw new Outage('the answer of the worker is too long')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** The connections to each address; those that nobody used for long are let go. */
const createPools = (clock: Clock, broken: (address: string) => void) => {
  const pools = new Map<string, { readonly pool: Pool; usedMs: Millis }>()
  const forgetOld = (nowMs: Millis): void => {
    for (const [address, { pool, usedMs }] of pools) {
      if (nowMs - usedMs < tellMs * 2) continue
      pools.delete(address)
      // nothing waits for what no one has used for so long
      pool.destroy().catch(() => undefined)
    }
  }
  const open = (address: string): Pool => {
    const pool = new Pool(`http://${address}`, {
      connections: mostConnections,
      pipelining: 1,
      connectTimeout: connectMs,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      headersTimeout: tellMs,
      bodyTimeout: askMs,
    })
    pool.on('disconnect', () => broken(address))
    return pool
  }
  return {
    of: (address: string): Pool => {
      const nowMs = clock.monotonic()
      const known = pools.get(address)
      if (known !== undefined) {
        known.usedMs = nowMs
        return known.pool
      }
      forgetOld(nowMs)
      const pool = open(address)
      pools.set(address, { pool, usedMs: nowMs })
      return pool
    },
    close: async (): Promise<void> => {
      const all = [...pools.values()]
      pools.clear()
      await Promise.all(all.map(({ pool }) => pool.destroy()))
    },
  }
}

/** Creates it; connections are opened when they are needed. */
export const createCourier = ({ clock }: { readonly clock: Clock }): Courier => {
  const listeners: ((address: string) => void)[] = []
  const pools = createPools(clock, (address) => listeners.forEach((heard) => heard(address)))
  const post = (address: string, path: string, body: unknown, signal?: AbortSignal) =>
    pools.of(address).request({
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: signal ?? null,
    })
  return {
    probe: probeOnce,
    onBroken: (heard) => void listeners.push(heard),
    tell: async (address, path, body) => {
      if (readAddress(address) === undefined) return 'refused'
      try {
        const { statusCode, body: answer } = await post(address, path, body)
        await answer.dump()
        return statusCode === 200 ? 'delivered' : 'uncertain'
      } catch (error) {
        // answered here: whoever sends decides what follows
        return isRefusal(error) ? 'refused' : 'uncertain'
      }
    },
    ask: async (address, path, body) => {
      if (readAddress(address) === undefined) throw new Outage(`${address} is no address of a worker`)
      const late = new AbortController()
      const callOff = clock.after(askMs, () => late.abort())
      try {
        const answer = await post(address, path, body, late.signal)
        const text = await textOf(answer.body)
        if (answer.statusCode !== 200) throw new Outage(`the worker at ${address} answered ${answer.statusCode}`)
        return replyOf(text)
      } catch (error) {
        // translated
        if (error instanceof Outage) throw error
        throw new Outage(`the worker at ${address} did not answer`, { cause: error })
      } finally {
        callOff()
      }
    },
    close: pools.close,
  }
}
