// A connection with one purpose (listening, holding a lock) that comes back for ever.
import type pg from 'pg'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'

export interface SessionNeeds {
  readonly makeClient: () => pg.Client
  /** For the log: what it is for. */
  readonly purpose: string
  /** Called on each new connection. */
  readonly begin: (client: pg.Client) => Promise<void>
  /** Called when a connection on which `begin` has succeeded is over. */
  readonly ended?: () => void
  readonly log: Log
  readonly clock: Clock
}

// A connection that a firewall forgot looks healthy until something is sent on it.
const heartbeatMs: Millis = 10_000
const pauseMaxMs: Millis = 5_000

const pauseMs = (failures: number): Millis => Math.min(100 * 2 ** Math.min(failures, 10), pauseMaxMs)

/** Lasts until the connection ends or `signal` aborts. Rejects when the connection fails. */
const sessionOnce = async (needs: SessionNeeds, signal: AbortSignal, begun: () => void): Promise<void> => {
  const { clock } = needs
  const client = needs.makeClient()
  const over = new AbortController()
  const end = (): void => over.abort()
  client.on('error', end)
  client.on('end', end)
  signal.addEventListener('abort', end, { once: true })
  let ended: (() => void) | undefined
  try {
    await client.connect()
    await needs.begin(client)
    ended = needs.ended
    begun()
    while (!over.signal.aborted) {
      await clock.sleep(heartbeatMs, over.signal)
      if (!over.signal.aborted) await client.query('select 1')
    }
  } finally {
    ended?.()
    signal.removeEventListener('abort', end)
    // a broken connection has nothing left to say goodbye to
    await client.end().catch(() => undefined)
  }
}

/**
 * Starts the session; resolves after the first attempt to connect, whether it worked or not.
 * Returns a function that ends it.
 */
export const keepSession = async (needs: SessionNeeds): Promise<() => Promise<void>> => {
  const { clock, log, purpose } = needs
  const stopping = new AbortController()
  const first = Promise.withResolvers<void>()
  const keep = async (): Promise<void> => {
    let failures = 0
    const begun = (): void => {
      if (failures > 0) log.info({ purpose, failures }, 'database session restored')
      failures = 0
      first.resolve()
    }
    while (!stopping.signal.aborted) {
      try {
        await sessionOnce(needs, stopping.signal, begun)
      } catch (error) {
        // top of a loop: logged, tried again
        if (failures === 0) log.warn({ purpose, err: error }, 'database session lost')
      }
      first.resolve()
      failures += 1
      await clock.sleep(pauseMs(failures), stopping.signal)
    }
  }
  const keeping = keep()
  await first.promise
  return async () => {
    stopping.abort()
    await keeping
  }
}
