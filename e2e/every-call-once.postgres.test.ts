// Every call takes effect once and has one answer: every route that takes a key, three servers, SIGKILL, lost answers, cut connections.
import { seedFromEnv } from '@oncejob/testkit'
import { it } from 'vitest'
import { runEveryCall } from './support/every-call.ts'
import { killServers } from './support/faults.ts'
import { size } from './support/sizes.ts'

it(
  'each of many calls, sent up to five times to three servers that are killed, has one effect and one answer',
  { timeout: size(300_000, 1_200_000) },
  () =>
    runEveryCall({
      title: 'every-call-once on PostgreSQL',
      seed: seedFromEnv(),
      calls: size(1_500, 10_000),
      lanes: 16,
      fleet: { servers: 3 },
      troubled: 0.25,
      faults: [killServers(size(6, 24))],
    }),
)
