// Every call takes effect once and has one answer: every route that takes a key, one server on the embedded database that is killed.
import { seedFromEnv } from '@oncejob/testkit'
import { it } from 'vitest'
import { runEveryCall } from './support/every-call.ts'
import { killServers } from './support/faults.ts'
import { size } from './support/sizes.ts'

it(
  'each of many calls, sent up to five times to a server that is killed and comes back, has one effect and one answer',
  { timeout: size(300_000, 1_200_000) },
  () =>
    runEveryCall({
      title: 'every-call-once on the embedded database',
      seed: seedFromEnv(),
      calls: size(400, 2_500),
      lanes: 8,
      fleet: { servers: 1 },
      troubled: 0.25,
      faults: [killServers(size(4, 20))],
    }),
)
