// This server's place in the cluster: it registers, says every few seconds that it lives, and leaves.
import type { Clock, Millis } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import { duty, type Service } from '../kernel/service.ts'
import type { Db } from '../storage/db.ts'
import { beatServer, registerServer, removeServer, type ServerBeat } from '../storage/servers.ts'

export interface Presence extends Service {
  /** Id of this server; undefined before `start`. */
  id(): number | undefined
  /** As of the last beat: 0 is the oldest living server. Two servers may believe the same for a moment. */
  rank(): number
  /** How many servers live, this one included. */
  alive(): number
  /** Tells the others where this server takes messages of Java workers; null: it takes none any more. */
  announce(workerAddress: string | null): void
  /** What was announced. */
  announced(): string | null
}

export interface PresenceOptions {
  readonly name: string
  readonly version: string
  /** Pause between two beats, in ms; well below the 10 s after which a server counts as gone. */
  readonly beatMs?: Millis
}

export const createPresence = (
  needs: { readonly db: Db; readonly clock: Clock; readonly log: Log },
  options: PresenceOptions,
): Presence => {
  const { db, clock, log } = needs
  let id: number | undefined
  let last: ServerBeat = { known: true, rank: 0, alive: 1 }
  let address: string | null = null

  const runOnce = async (): Promise<void> => {
    id ??= await registerServer(db, options)
    last = await beatServer(db, id, address)
    // forgotten as dead, for example after a day asleep: it comes back as a new server
    if (!last.known) id = undefined
  }
  const beats = duty({ name: 'presence', clock, log, everyMs: options.beatMs ?? 2_000, runOnce })
  return {
    name: 'presence',
    id: () => id,
    rank: () => last.rank,
    alive: () => last.alive,
    announced: () => address,
    announce: (workerAddress) => {
      address = workerAddress
      beats.wake()
    },
    start: async () => {
      await runOnce()
      await beats.start()
    },
    stop: async () => {
      await beats.stop()
      if (id === undefined) return
      const gone = id
      id = undefined
      try {
        await removeServer(db, gone)
      } catch (error) {
        // bounded: a stopping server does not wait for its database; the others see it gone in 10 s
        log.warn({ err: error }, 'server row not removed')
      }
    },
  }
}
