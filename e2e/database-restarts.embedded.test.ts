// The server with the embedded database is killed with SIGKILL under load: nothing that was acknowledged is lost.
import { seedFromEnv, seededRandom } from '@oncejob/testkit'
import { afterEach, it } from 'vitest'
import { openFleet, type Fleet } from './support/fleet.ts'
import { surviveRestarts } from './support/restarts.ts'

let fleet: Fleet | undefined
afterEach(() => fleet?.close())

const kills = 10

it('ten SIGKILLs under load lose no acknowledged call and no completion', async () => {
  const seed = seedFromEnv()
  process.stdout.write(`kills with ONCEJOB_SEED=${seed}\n`)
  fleet = await openFleet({ leaseMs: 5_000, graceMs: 5_000 })
  const server = fleet.servers[0]!
  await surviveRestarts(fleet, {
    title: `database-restarts on the embedded database, seed ${seed}`,
    random: seededRandom(seed),
    calls: { count: 20_000, overMs: 80_000 },
    restarts: Array.from({ length: kills }, () => async () => {
      await server.child().kill()
      await server.start()
    }),
    ends: 20,
    pauseMs: 300,
    says: { 'servers killed': kills },
  })
})
