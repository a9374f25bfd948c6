// LISTEN on a connection of its own that comes back for ever.
import type pg from 'pg'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'

export interface ListenerNeeds {
  readonly makeClient: () => pg.Client
  readonly channel: string
  readonly heard: (payload: string) => void
  readonly reconnected: () => void
  readonly log: Log
  readonly clock: Clock
}

// A connection that a firewall forgot looks healthy until something is sent on it.
const heartbeatMs: Millis = 10_000
const pauseMaxMs: Millis = 5_000

const pauseMs = (failures: number): Millis => Math.min(100 * 2 ** Math.min(failures, 10), pauseMaxMs)

/** Listens until the connection ends or `signal` aborts. Rejects when the connection fails. */
const listenOnce = async (needs: ListenerNeeds, signal: AbortSignal, connected: () => void): Promise<void> => {
  const { channel, clock, heard } = needs
  const client = needs.makeClient()
  const over = new AbortController()
  const end = (): void => over.abort()
  client.on('error', end)
  client.on('end', end)
  signal.addEventListener('abort', end, { once: true })
  client.on('notification', (message) => {
    if (message.channel === channel) heard(message.payload ?? '')
  })
  try {
    await client.connect()
    await client.query(`listen ${client.escapeIdentifier(channel)}`)
    connected()
    while (!over.signal.aborted) {
      await clock.sleep(heartbeatMs, over.signal)
      if (!over.signal.aborted) await client.query('select 1')
    }
  } finally {
    signal.removeEventListener('abort', end)
    // a broken connection has nothing left to say goodbye to
    await client.end().catch(() => undefined)
  }
}

/**
 * Starts listening; resolves after the first attempt to connect, whether it worked or not.
 * Returns a function that ends it.
 */
export const listenOn = async (needs: ListenerNeeds): Promise<() => Promise<void>> => {
  const { clock, log } = needs
  const stopping = new AbortController()
  const first = Promise.withResolvers<void>()
  const listen = async (): Promise<void> => {
    let failures = 0
    const connected = (): void => {
      if (failures > 0) log.info({ channel: needs.channel, failures }, 'listening again')
      failures = 0
      first.resolve()
      needs.reconnected()
    }
    while (!stopping.signal.aborted) {
      try {
        await listenOnce(needs, stopping.signal, connected)
      } catch (error) {
        // top of a loop: logged, tried again
        if (failures === 0) log.warn({ channel: needs.channel, err: error }, 'listening failed')
      }
      first.resolve()
      failures += 1
      await clock.sleep(pauseMs(failures), stopping.signal)
    }
  }
  const listening = listen()
  await first.promise
  return async () => {
    stopping.abort()
    await listening
  }
}
