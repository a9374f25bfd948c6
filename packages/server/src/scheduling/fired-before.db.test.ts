// A schedule that is armed for a time which has fired: the database's clock was set back, and somebody edited the job since (I2).
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { sql } from '../storage/sql.ts'
import { createRig, type Rig } from '../testing/rig.ts'

let database: TestDatabase
let rig: Rig
beforeAll(async () => {
  database = await openTestDatabase()
  rig = await createRig(database.db)
})
afterAll(() => database.close())

// allow is decided together with other schedules, skip by itself
test.each(['allow', 'skip'] as const)(
  'overlap %s: it moves on without firing again, and those beside it fire',
  async (overlap) => {
    const appId = await rig.app()
    const schedule = { overlap, trigger: { kind: 'cron' as const, expression: '0 0 3 1 1 ?' } }
    const [first, second] = [await rig.job(appId, { schedule }), await rig.job(appId, { schedule })]
    const arm = (jobs: readonly number[], ago: string) =>
      rig.db.query(sql`
      update oncejob.schedule set next_fire_at = date_trunc('milliseconds', now()) - ${ago}::interval
       where job_id = any(${[...jobs]}::bigint[])`)
    const facts = async (job: number) => {
      const [row] = await rig.db.query<{ fires: number; runs: number; ahead: boolean }>(sql`
      select (select count(*)::int from oncejob.fire where job_id = s.job_id) as fires,
        (select count(*)::int from oncejob.run where job_id = s.job_id) as runs, s.next_fire_at > now() as ahead
        from oncejob.schedule s where s.job_id = ${job}`)
      return row
    }
    await arm([first], '3 s')
    await rig.scheduler.runOnce()
    expect(await facts(first)).toEqual({ fires: 1, runs: 1, ahead: true })

    await rig.db.query(sql`
    update oncejob.schedule s set next_fire_at = f.fire_at from oncejob.fire f where f.job_id = s.job_id and s.job_id = ${first}`)
    await arm([second], '1 s')
    await rig.scheduler.runOnce()
    expect(await facts(first)).toEqual({ fires: 1, runs: 1, ahead: true })
    expect(await facts(second)).toEqual({ fires: 1, runs: 1, ahead: true })
  },
)
