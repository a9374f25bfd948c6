// The database is restarted, and then replaced by its synchronous replica, in the middle of calls: each has one effect and one answer.
import { seedFromEnv } from '@oncejob/testkit'
import { afterEach, it } from 'vitest'
import { startCluster, startReplica, whyNoCluster, type Cluster } from './support/cluster.ts'
import { openDatabaseGap, type DatabaseGap } from './support/database-gap.ts'
import { runEveryCall } from './support/every-call.ts'
import { postgresPlace } from './support/places.ts'
import { size } from './support/sizes.ts'

const clusters: Cluster[] = []
let gap: DatabaseGap | undefined
afterEach(async () => {
  await gap?.close()
  gap = undefined
  for (const cluster of clusters.splice(0)) await cluster.remove()
})

const why = whyNoCluster()
if (why !== undefined) process.stdout.write(`SKIPPED restart and fail-over of PostgreSQL: ${why}\n`)

it.skipIf(why !== undefined)(
  'the database is restarted under calls (T-07)',
  { timeout: size(300_000, 1_200_000) },
  async () => {
    const cluster = await startCluster()
    clusters.push(cluster)
    const modes = ['immediate', 'fast'] as const
    await runEveryCall({
      title: 'every call once while PostgreSQL is restarted',
      seed: seedFromEnv(),
      calls: size(600, 5_000),
      lanes: 16,
      fleet: { servers: 2, place: await postgresPlace(cluster.url) },
      troubled: 0.1,
      faults: [
        async ({ pace }, random) => ({
          'restarts of PostgreSQL': await pace.spread(size(3, 10), random, (index) =>
            cluster.restart(modes[index % 2] ?? 'fast'),
          ),
        }),
      ],
    })
  },
)

it.skipIf(why !== undefined)(
  'the database dies under calls and its synchronous replica takes over (T-07)',
  { timeout: size(300_000, 1_200_000) },
  async () => {
    const primary = await startCluster()
    clusters.push(primary)
    const opened = (gap = await openDatabaseGap(primary.url))
    const place = await postgresPlace(opened.url)
    const replica = await startReplica(primary)
    clusters.push(replica)
    await runEveryCall({
      title: 'every call once while the replica takes over',
      seed: seedFromEnv(),
      calls: size(600, 5_000),
      lanes: 16,
      fleet: { servers: 2, place },
      troubled: 0.1,
      faults: [
        async ({ pace }, random) => ({
          'fail-overs': await pace.spread(1, random, async () => {
            await primary.stop('immediate')
            await replica.promote()
            opened.lead(replica.url)
          }),
        }),
      ],
    })
  },
)
