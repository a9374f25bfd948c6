// A fire makes one run, a call takes effect once, a run is finished once: one server on the embedded database, SIGKILL at random.
import { seedFromEnv } from '@oncejob/testkit'
import { it } from 'vitest'
import { size } from './support/sizes.ts'
import { runStorm } from './support/storm.ts'

it(
  'every fire and every acknowledged call is one run that is finished once, while the server and workers are killed',
  { timeout: size(300_000, 900_000) },
  async () => {
    const counts = size(
      { schedules: 20, seconds: 20, calls: 500, kills: 6 },
      { schedules: 50, seconds: 60, calls: 2500, kills: 20 },
    )
    await runStorm({ seed: seedFromEnv(), servers: 1, workers: 2, ...counts })
  },
)
