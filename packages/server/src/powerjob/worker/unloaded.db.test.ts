// Promises for runs of containers: what a worker did not load is named, with what may be the reason; all else is in its own words.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { addPart, adoptJar, beginJar, deleteContainer } from '../../storage/containers.ts'
import { sql } from '../../storage/sql.ts'
import { createJavaRig, type JavaRig } from '../testing/java-rig.ts'

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

const version = '0123456789abcdef0123456789abcdef'
const unloaded = 'init TaskTracker failed, reason: PowerJobException: fetch Processor failed, please check your config'

const container = async (appId: number): Promise<number> => {
  const { db } = database
  const id = await beginJar(db)
  await addPart(db, id, 0, Buffer.from('PK'))
  return (await adoptJar(db, appId, 'prices', { id, version, sha256: 'f'.repeat(64), size: 2 })).id
}

/** What is said of a run of this job, after its worker has said this. */
const said = async (appId: number, job: object, result: string): Promise<unknown> => {
  const jobId = await rig.wireJob(appId, job)
  const worker = await rig.javaWorker(appId)
  const runId = await rig.submit(appId, jobId)
  await worker.handed(1)
  await worker.report(rig.java.workers, runId, 4, { result })
  await worker.kill()
  const [row] = await database.db.query<{ error: string }>(sql`select error from oncejob.run where id = ${runId}`)
  return JSON.parse(row?.error ?? 'null')
}
const of = (id: number) => ({ processorType: 'EXTERNAL', processorInfo: `${id}#com.acme.P` })

test('a container that a worker could not load is named, with what it needs', async () => {
  const appId = await rig.app()
  const id = await container(appId)
  expect(await said(appId, of(id), unloaded)).toEqual({
    code: 'PROCESSOR_FAILED',
    message: expect.stringContaining(
      `the worker has not loaded container ${id} "prices", version ${version}: deploy it`,
    ),
  })
  expect(await said(appId, of(id), unloaded)).toMatchObject({ message: expect.stringContaining(`(${unloaded})`) })
})

test('a container that is not there (any more), or is that of another app, is said to be missing', async () => {
  const [appId, otherId] = [await rig.app(), await rig.app()]
  const id = await container(appId)
  const missing = { message: `the app has no container ${id} (${unloaded})` }
  expect(await said(otherId, of(id), unloaded)).toMatchObject(missing)
  await deleteContainer(database.db, appId, id)
  expect(await said(appId, of(id), unloaded)).toMatchObject(missing)
})

test('what a processor itself says, and a job without a container, are left as they are', async () => {
  const appId = await rig.app()
  const id = await container(appId)
  expect(await said(appId, of(id), 'no pears')).toMatchObject({ message: 'no pears' })
  expect(await said(appId, {}, unloaded)).toMatchObject({ message: unloaded })
})
