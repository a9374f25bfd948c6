// LISTEN on a connection of its own that comes back for ever.
import type pg from 'pg'
import type { Clock } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { keepSession } from './postgres-session.ts'

export interface ListenerNeeds {
  readonly makeClient: () => pg.Client
  readonly channel: string
  readonly heard: (payload: string) => void
  readonly reconnected: () => void
  readonly log: Log
  readonly clock: Clock
}

/**
 * Starts listening; resolves after the first attempt to connect, whether it worked or not.
 * Returns a function that ends it.
 */
export const listenOn = ({
  makeClient,
  channel,
  heard,
  reconnected,
  log,
  clock,
}: ListenerNeeds): Promise<() => Promise<void>> =>
  keepSession({
    makeClient,
    purpose: `listening on ${channel}`,
    log,
    clock,
    begin: async (client) => {
      client.on('notification', (message) => {
        if (message.channel === channel) heard(message.payload ?? '')
      })
      await client.query(`listen ${client.escapeIdentifier(channel)}`)
      reconnected()
    },
  })
