// A fire makes one run, a call takes effect once, a run is finished once: three servers, four workers, SIGKILL at random.
import { seedFromEnv } from '@oncejob/testkit'
import { it } from 'vitest'
import { size } from './support/sizes.ts'
import { runStorm } from './support/storm.ts'

it(
  'every fire and every acknowledged call is one run that is finished once, while servers and workers are killed',
  { timeout: size(300_000, 900_000) },
  async () => {
    const counts = size(
      { schedules: 50, seconds: 20, calls: 1000, kills: 8 },
      { schedules: 200, seconds: 60, calls: 5000, kills: 24 },
    )
    await runStorm({ seed: seedFromEnv(), servers: 3, workers: 4, ...counts })
  },
)
