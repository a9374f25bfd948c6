// What can go wrong behind the callers' backs: servers that die, database sessions that are ended.
import assert from 'node:assert/strict'
import { below } from './chance.ts'
import type { Fault } from './every-call.ts'
import type { ServerProcess } from './fleet.ts'
import { onServer } from './places.ts'
import { pause, until } from './until.ts'

/** Starts what was killed; its database may be away, or full of the sessions that its like has left, for a moment. */
export const startAgain = async (one: { start(): Promise<void> }): Promise<void> => {
  for (let tries = 1; ; tries += 1) {
    try {
      return await one.start()
    } catch (error) {
      if (tries === 10) throw error
      await pause(1_000)
    }
  }
}

/** SIGKILL for servers, one after the other; each is started again at once. With several, most stay up. */
export const killServers =
  (times: number): Fault =>
  async ({ fleet, pace }, random) => {
    const up = new Set<ServerProcess>(fleet.servers)
    const restarts: Promise<void>[] = []
    const restart = async (server: ServerProcess): Promise<void> => {
      up.delete(server)
      await server.child().kill()
      await startAgain(server)
      up.add(server)
    }
    const killed = await pace.spread(times, random, async () => {
      await until('most servers are up', () => up.size * 2 > fleet.servers.length)
      const server = [...up][below(random, up.size)]
      assert.ok(server !== undefined)
      const restarting = restart(server)
      // awaited below, with all the others
      restarting.catch(() => undefined)
      restarts.push(restarting)
    })
    await Promise.all(restarts)
    return { 'servers killed': killed }
  }

/** Ends sessions of the servers at the database, whatever they are just doing. */
export const endSessions =
  (times: number): Fault =>
  async ({ fleet, pace }, random) => {
    const database = new URL(fleet.place.env['DATABASE_URL'] ?? '').pathname.slice(1)
    const url = fleet.place.env['DATABASE_URL'] ?? ''
    let ended = 0
    await pace.spread(times, random, () =>
      until('a session to end', async () => {
        const { rows } = await onServer(
          url,
          `select pid from pg_stat_activity where datname = '${database}' and pid <> pg_backend_pid()
             and application_name <> 'oncejob-e2e' order by pid`,
        )
        const pid = (rows[below(random, Math.max(1, rows.length))] as { pid: number } | undefined)?.pid
        if (pid === undefined) return false
        const done = await onServer(url, `select pg_terminate_backend(${pid}) as ended`)
        const isEnded = (done.rows[0] as { ended: boolean }).ended
        if (isEnded) ended += 1
        return isEnded
      }),
    )
    return { 'database sessions ended': ended }
  }
