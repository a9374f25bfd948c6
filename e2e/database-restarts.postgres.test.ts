// PostgreSQL is restarted under load, sometimes without asking: nothing that was acknowledged is lost.
import { seedFromEnv, seededRandom } from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { startCluster, whyNoCluster, type Cluster } from './support/cluster.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { postgresPlace } from './support/places.ts'
import { surviveRestarts } from './support/restarts.ts'
import { size } from './support/sizes.ts'

let fleet: Fleet | undefined
let cluster: Cluster | undefined
afterEach(async () => {
  await fleet?.close()
  await cluster?.remove()
})

const why = whyNoCluster()
if (why !== undefined) process.stdout.write(`SKIPPED restarts of PostgreSQL: ${why}\n`)

const modes = ['immediate', 'fast', 'immediate', 'fast', 'immediate'] as const

it.skipIf(why !== undefined)('five restarts under load lose no acknowledged call and no completion', async () => {
  const seed = seedFromEnv()
  process.stdout.write(`restarts with ONCEJOB_SEED=${seed}\n`)
  const { url, restart } = (cluster = await startCluster())
  fleet = await openFleet({ place: await postgresPlace(url), servers: 2, leaseMs: 3_000, graceMs: 2_000 })
  await surviveRestarts(fleet, {
    title: `database-restarts on PostgreSQL, seed ${seed}`,
    random: seededRandom(seed),
    // not as fast as it can: the load is to last, not to fill the machine
    calls: { count: size(20_000, 100_000), overMs: size(80_000, 200_000) },
    restarts: modes.map((mode) => () => restart(mode)),
    ends: 50,
    pauseMs: 500,
    says: { 'restarts (immediate, fast)': '3, 2' },
  })
  for (const server of fleet.servers) expect(server.child().isAlive()).toBe(true)
})
