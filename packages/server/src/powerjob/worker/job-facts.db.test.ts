// What hand-overs need of jobs: read once for many, never older than the version that was claimed.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import type { Queries } from '../../storage/db.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'
import { createJobFacts } from './job-facts.ts'

let database: TestDatabase
let rig: JavaRig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createJavaRig(database.db)
})
afterAll(async () => {
  await rig.end()
  await database.close()
})

const counting = (): { queries: Queries; asked: () => number } => {
  let asked = 0
  const queries: Queries = {
    query: (statement, options) => {
      asked += 1
      return database.db.query(statement, options)
    },
  }
  return { queries, asked: () => asked }
}

test('what a hundred jobs are that are due in the same second is read at once, and then known', async () => {
  const appId = await rig.app()
  const jobIds: number[] = []
  for (let i = 0; i < 100; i += 1) jobIds.push(await rig.wireJob(appId, { jobName: `job ${i}`, concurrency: i + 1 }))
  const { queries, asked } = counting()
  const factsOf = createJobFacts(queries)
  const found = await Promise.all(jobIds.map(async (id) => factsOf(id, 1)))
  expect(found.map(({ after }) => after['threadConcurrency'])).toEqual(jobIds.map((_, i) => i + 1))
  expect(asked()).toBe(1)
  for (const id of jobIds) await factsOf(id, 1)
  expect(asked()).toBe(1)
})

test('a job that there never was is refused without harm to those that were asked for with it', async () => {
  const appId = await rig.app()
  const jobId = await rig.wireJob(appId)
  const factsOf = createJobFacts(database.db)
  const answers = await Promise.allSettled([jobId, 999_999_999].map(async (id) => factsOf(id, 1)))
  expect(answers).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'JOB_NOT_FOUND' } }])
})
