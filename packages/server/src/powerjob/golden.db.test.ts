// Replays what a real PowerJob 5.1.1 client and server said to each other (127 calls), and lists what differs.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../kernel/clock.ts'
import { sql } from '../storage/sql.ts'
import { absent, compare, compareAnswers, type Difference } from './testing/golden-compare.ts'
import { differences } from './testing/golden-differences.ts'
import { exactJson, Ids, kindOf, ourBody } from './testing/golden-ids.ts'
import { startGoldenWorker, type GoldenWorker } from './testing/golden-worker.ts'
import { connectRaw, rawRequest, type RawAnswer, type RawConnection } from './testing/raw-http.ts'
import { startRealWire, type RealWire } from './testing/real-wire.ts'

interface Recorded {
  readonly n: number
  readonly step: string
  readonly path: string
  readonly requestHeaders: Readonly<Record<string, string>>
  readonly requestBody: string
  readonly status: number
  readonly responseHeaders: Readonly<Record<string, string>>
  readonly responseBody: string
  readonly atMs: number
}

const recording: Recorded[] = readFileSync(new URL('./testing/golden-openapi-5.1.1.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded)

// statuses of instances that have ended
const ended = new Set(['4', '5', '9', '10'])

/** How often a rate has fired by then depends on how fast the calls came: only the first of its instances is compared. */
const firesByItself = new Set([125, 127])

const member = (value: unknown, ...names: string[]): unknown =>
  names.reduce<unknown>(
    (at, name) => (typeof at === 'object' && at !== null ? Reflect.get(at, name) : undefined),
    value,
  )

const firstOnly = (answer: unknown): unknown => {
  const page = member(answer, 'data')
  const items: readonly unknown[] = (member(page, 'data') as unknown[] | undefined) ?? []
  if (items.length === 0) return answer
  return { ...(answer as object), data: { ...(page as object), totalItems: 1, totalPages: 1, data: [items[0]] } }
}

const patienceMs = 20_000

describe('what was recorded from PowerJob 5.1.1', () => {
  const ids = new Ids()
  const found: Difference[] = []
  let server: RealWire
  let worker: GoldenWorker
  let client: RawConnection
  let token = ''

  beforeAll(async () => {
    server = await startRealWire()
    // one kept connection, as the client's pool has it
    client = await connectRaw(server.url)
    const { token: workerToken } = await server.app('bench')
    worker = await startGoldenWorker(server.url, workerToken)
  })
  afterAll(async () => {
    client.socket.destroy()
    await worker.stop()
    await server.stop()
  })

  const until = async (holds: () => Promise<boolean>): Promise<void> => {
    const endMs = systemClock.monotonic() + patienceMs
    while (!(await holds()) && systemClock.monotonic() < endMs) await systemClock.sleep(20)
  }

  /** The recording waited for the worker by the clock; here the run itself is waited for. */
  const settled = async ({ path, requestBody, responseBody }: Recorded): Promise<void> => {
    const [, recordedId = ''] = /instanceId=(\d+)/.exec(requestBody) ?? []
    const runId = ids.ours('instance', recordedId)
    const shown = member(exactJson(responseBody), 'data')
    const status = String(path.endsWith('Status') ? shown : member(shown, 'status'))
    if (!path.startsWith('/openApi/fetchInstance') || runId === undefined) return
    const { db } = server.database
    if (status === '3')
      await until(async () => (await db.query(sql`select 1 from oncejob.attempt where run_id = ${runId}`)).length > 0)
    if (!ended.has(status)) return
    await until(
      async () => (await db.query(sql`select 1 from oncejob.run where id = ${runId} and state <> 'open'`)).length > 0,
    )
  }

  const fired = async ({ n, requestBody }: Recorded): Promise<void> => {
    if (!firesByItself.has(n)) return
    const jobId = ids.ours('job', /"jobIdEq":(\d+)/.exec(requestBody)?.[1] ?? '')
    await until(
      async () =>
        (await server.database.db.query(sql`select 1 from oncejob.run where job_id = ${jobId} and state = 'succeeded'`))
          .length > 0,
    )
  }

  const replay = async (one: Recorded): Promise<RawAnswer | undefined> => {
    const path = one.path.slice('/openApi'.length)
    const headers = { ...one.requestHeaders }
    const app = headers['X-POWERJOB-APP-ID']
    if (app !== undefined) {
      headers['X-POWERJOB-APP-ID'] = ids.ours('app', app) ?? app
      // the recorder left it out
      headers['X-POWERJOB-ACCESS-TOKEN'] = token
    }
    const body = ourBody(path, one.requestBody, ids, Date.now() - one.atMs)
    client.send(rawRequest(one.path, body, headers))
    return client.answer()
  }

  const judge = (one: Recorded, answer: RawAnswer): void => {
    const call = one.n
    const path = one.path.slice('/openApi'.length)
    if (answer.status !== one.status) found.push({ call, at: 'status', recorded: one.status, ours: answer.status })
    for (const [name, value] of Object.entries(one.responseHeaders)) {
      const recorded = `${name}: ${value}`
      const ours = answer.lines.find((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`)) ?? absent
      // clients look for this one in exactly this spelling, and for all others in any
      const isSame = name.startsWith('X-') ? ours === recorded : ours.toLowerCase() === recorded.toLowerCase()
      if (!isSame) found.push({ call, at: 'header', recorded, ours })
    }
    const [recorded, ours] = [exactJson(one.responseBody), exactJson(answer.body)]
    const about = { call, path, ids }
    if (firesByItself.has(call)) found.push(...compareAnswers(about, firstOnly(recorded), firstOnly(ours)))
    else found.push(...compareAnswers(about, recorded, ours))
    const given = member(ours, 'data', 'token')
    if (typeof given === 'string') token = given
  }

  it('is answered in the same way, call by call, except where the list of differences says otherwise', async () => {
    for (const one of recording) {
      await settled(one)
      await fired(one)
      const answer = await replay(one)
      expect(answer, `call ${one.n} (${one.step}) has no answer`).toBeDefined()
      judge(one, answer!)
    }
    expect(recording).toHaveLength(127)
    const listed = differences.map(({ row: _row, ...difference }) => difference)
    expect(found).toEqual(listed)
  }, 300_000)

  it('came to its end once: the second final report of a finished run was not accepted', () => {
    expect(worker.seconds).toHaveLength(2)
    expect(worker.seconds).not.toContain('accepted')
  })

  it('differs for reasons that the table of differences gives', () => {
    const table = readFileSync(new URL('../../../../docs/from-powerjob.md', import.meta.url), 'utf8')
    const rows = new Set([...table.matchAll(/^\| (\d+) \|/gm)].map(([, number]) => Number(number)))
    expect(rows.size).toBeGreaterThan(0)
    for (const { call, row } of differences) expect(rows.has(row), `row ${row} for call ${call}`).toBe(true)
  })
})

describe('the comparison', () => {
  const about = () => ({ call: 1, path: '/fetchJob', ids: new Ids() })

  it('finds other values, missing and added members, another order, and other lists', () => {
    const at = (recorded: unknown, ours: unknown) => compare(about(), '', recorded, ours).map((one) => one.at)
    expect(at({ tag: 'a' }, { tag: 'b' })).toEqual(['/tag'])
    expect(at({ tag: null, extra: null }, { tag: null })).toEqual(['/extra'])
    expect(at({ tag: null }, { tag: null, extra: null })).toEqual(['/extra'])
    expect(at({ tag: 1, extra: 2 }, { extra: 2, tag: 1 })).toEqual([' (order)'])
    expect(at([{ tag: 1 }], [])).toEqual(['/length'])
    expect(at({ finishedTime: null }, { finishedTime: 5 })).toEqual(['/finishedTime'])
    expect(at({ gmtCreate: '2026-11-21T23:46:26.000+00:00' }, { gmtCreate: '2026-11-21T23:46:26Z' })).toEqual([
      '/gmtCreate',
    ])
    expect(at({ nextTriggerTime: 1_896_058_800_000 }, { nextTriggerTime: 1_896_058_800_001 })).toEqual([
      '/nextTriggerTime',
    ])
  })

  it('lets ids, times and tokens be others, as long as each stands for the same thing throughout', () => {
    const same = about()
    expect(
      compare(
        same,
        '',
        { jobId: 1, gmtCreate: '2026-11-21T23:46:26.000+00:00' },
        { jobId: 7, gmtCreate: '2027-01-01T00:00:00.123+00:00' },
      ),
    ).toEqual([])
    expect(compare(same, '', { jobId: 1 }, { jobId: 7 })).toEqual([])
    expect(compare(same, '', { jobId: 2 }, { jobId: 7 })).toHaveLength(1)
    expect(compare(same, '', { jobId: 1 }, { jobId: 8 })).toHaveLength(1)
  })

  it('sends recorded bodies byte for byte, but for ids and times of that day', () => {
    const ids = new Ids()
    ids.learn('job', 1, 17)
    ids.learn('node', 2, 18)
    expect(ourBody('/runJob', 'jobId=1&delay=0&appId=3', ids, 5)).toBe('jobId=17&delay=0&appId=3')
    expect(ourBody('/saveJob', '{"id":1,"minCpuCores":0.0,"start":1795304785565}', ids, 5)).toBe(
      '{"id":17,"minCpuCores":0.0,"start":1795304785570}',
    )
    expect(ourBody('/saveWorkflow', '{"dag":{"nodes":[{"nodeId":2}]}}', ids, 0)).toBe(
      '{"dag":{"nodes":[{"nodeId":18}]}}',
    )
    expect(kindOf('/saveWorkflow', 'id')).toBe('workflow')
  })
})
