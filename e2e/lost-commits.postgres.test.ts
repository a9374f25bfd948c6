// The database goes away in the middle of calls: a COMMIT whose outcome nobody knows has one effect or none, and its repeat tells which.
import assert from 'node:assert/strict'
import { seedFromEnv, testServerUrl } from '@oncejob/testkit'
import { afterEach, it } from 'vitest'
import { openDatabaseGap, type DatabaseGap } from './support/database-gap.ts'
import { runEveryCall, type Fault } from './support/every-call.ts'
import { endSessions } from './support/faults.ts'
import { postgresPlace } from './support/places.ts'
import { size } from './support/sizes.ts'

let gap: DatabaseGap | undefined
afterEach(async () => {
  await gap?.close()
  gap = undefined
})

it(
  'sessions of the database are ended all the time, and each call has one effect and one answer (T-03)',
  { timeout: size(300_000, 1_200_000) },
  () =>
    runEveryCall({
      title: 'every call once while sessions of the database are ended',
      seed: seedFromEnv(),
      calls: size(700, 5_000),
      lanes: 16,
      fleet: { servers: 3 },
      troubled: 0.1,
      faults: [endSessions(size(60, 500))],
    }),
)

it(
  'connections are cut around COMMIT, and each call has one effect and one answer (T-06)',
  { timeout: size(300_000, 1_200_000) },
  async () => {
    const opened = (gap = await openDatabaseGap(testServerUrl()))
    const place = await postgresPlace(opened.url)
    const cutting: Fault = async ({ pace }, random) => {
      opened.cutFrom(0.3, random)
      await pace.through()
      opened.cutFrom(0, random)
      const { heard, sent, unsent } = opened.cuts
      assert.ok(heard + sent >= size(100, 1_000), `only ${heard + sent} commits were cut`)
      return {
        'commits seen': opened.commits(),
        'cut with the answer of the commit': heard,
        'cut behind the commit': sent,
        'cut before the commit': unsent,
      }
    }
    await runEveryCall({
      title: 'every call once while connections to the database are cut around COMMIT',
      seed: seedFromEnv(),
      calls: size(700, 5_000),
      lanes: 16,
      fleet: { servers: 3, place },
      troubled: 0,
      faults: [cutting],
    })
  },
)
