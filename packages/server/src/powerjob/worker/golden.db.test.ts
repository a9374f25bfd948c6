// Replays what a real PowerJob 5.1.1 server and a worker said to each other, line by line, and names the lines that differ.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sql } from '../../storage/sql.ts'
import { startGoldenJavaWorker, type GoldenJavaWorker, type Told } from '../testing/golden-java-worker.ts'
import { exactJson, Ids, ourBody } from '../testing/golden-ids.ts'
import { startRealWire, type RealWire } from '../testing/real-wire.ts'

/** One message of the recording. `status` and `response`: how it was answered. */
interface Line {
  readonly n: number
  readonly at: number
  readonly direction: 'worker→server (web port)' | 'worker→server' | 'server→worker'
  readonly path: string
  /** What the server sent is an object whose ids were rounded by the recorder; reports are the very text. */
  readonly body?: unknown
  readonly status: number
  readonly response: string
}

/** One call of the client in the same hour: what made the server say what it said. */
interface Call {
  readonly n: number
  readonly atMs: number
  readonly path: string
  readonly requestBody: string
  readonly responseBody: string
}

const recordingOf = <T>(file: string): T[] =>
  readFileSync(new URL(`../testing/${file}`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as T)

const lines = recordingOf<Line>('golden-worker-5.1.1.jsonl')
const calls = recordingOf<Call>('golden-openapi-5.1.1.jsonl')

const recordedWorker = '127.0.0.1:27777'
const recordedServer = '127.0.0.1:10010'

/** What can not be equal, with the row of docs/from-powerjob.md that gives the reason. Everything else is. */
const different = new Map<number, { readonly what: string; readonly row: number }>([
  [4, { what: 'acquire answers an address for AKKA', row: 47 }],
  [47, { what: 'runJob of the first node of a workflow', row: 6 }],
  [49, { what: 'runJob of the second node of a workflow', row: 6 }],
])
/** What the server says beside what it said there. */
const added = ['/worker/stopInstance', '/worker/queryInstanceStatus'].map((path) => ({
  path,
  instance: '1004656552407203904',
  row: 53,
}))
/** Calls before which something must be done that was not needed there, with the row that says why. */
const before = new Map([[77, { path: '/openApi/enableJob', body: 'jobId=9&appId=1', what: 'a deleted job', row: 2 }]])

/** The calls that can make the server say something to a worker; the answers to all of them are compared elsewhere. */
const acting =
  /\/(saveJob|copyJob|enableJob|disableJob|deleteJob|runJob|retryInstance|stopInstance|cancelInstance|runWorkflow)$/
const dataOf = (text: string): unknown => (exactJson(text) as { data: unknown }).data

/** What happened, in its order. A call was made after the one before it was answered; its own answer may have come later than what it led to. */
const happened: readonly (Line | Call)[] = [
  ...lines.map((line) => ({ atMs: line.at, one: line })),
  ...calls.map((call, i) => ({ atMs: calls[i - 1]?.atMs ?? 0, one: call })),
]
  .toSorted((one, other) => one.atMs - other.atMs)
  .map(({ one }) => one)

/** Every id of an instance, from the texts that have it exactly: by it is found what the recorder rounded. */
const exactIds = [...lines.map(({ body }) => body), ...calls.map(({ responseBody }) => responseBody)].flatMap((text) =>
  typeof text === 'string' ? (text.match(/\d{17,19}/g) ?? []) : [],
)
const exactOf = (rounded: unknown): string => exactIds.find((id) => Number(id) === rounded) ?? ''

describe('what a PowerJob 5.1.1 server and its worker said to each other', () => {
  const ids = new Ids()
  const laterMs = Date.now() - (lines[0]?.at ?? 0)
  const compared = new Set<number>()
  let server: RealWire
  let worker: GoldenJavaWorker
  let ourServer = ''
  let runId = '0'

  beforeAll(async () => {
    server = await startRealWire({ ONCEJOB_POWERJOB_AUTH: 'off' })
    worker = await startGoldenJavaWorker()
    ids.learn('app', 1, (await server.app('bench')).id)
    ourServer = server.workerUrl.slice('http://'.length)
  })
  afterAll(async () => {
    await worker?.stop()
    await server?.stop()
  })

  const openApi = async (path: string, body: string): Promise<string> => {
    const type = /^[[{]/.test(body) ? 'application/json' : 'application/x-www-form-urlencoded'
    const sent = ourBody(path.slice('/openApi'.length), body, ids, laterMs)
    const answer = await fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: sent,
    })
    return answer.text()
  }
  const repeat = async ({ n, path, requestBody, responseBody }: Call): Promise<void> => {
    if (!acting.test(path)) return
    const first = before.get(n)
    if (first !== undefined) expect(JSON.parse(await openApi(first.path, first.body)).success, first.what).toBe(true)
    const answer = await openApi(path, requestBody)
    // the nodes of workflows are listed for this reason; once workflows run, they are to be compared
    if (path.endsWith('runWorkflow')) return expect(JSON.parse(answer).success, `call ${n}`).toBe(false)
    const isRun = path.endsWith('runJob')
    if (isRun || path.endsWith('saveJob') || path.endsWith('copyJob'))
      ids.learn(isRun ? 'instance' : 'job', dataOf(responseBody), dataOf(answer))
  }

  /** What a worker sends, with our ids and addresses and the times of today, else byte for byte. */
  const ourText = (text: string): string => ourBody('', text, ids, laterMs).replaceAll(recordedWorker, worker.address)

  /** What we send to a worker, as it was recorded: with rounded ids. */
  const asRecorded = ({ body }: Told): string => {
    const mapped = Object.entries(body).map(([name, value]) => {
      if (name === 'allWorkerAddress')
        return [name, (value as string[]).map((one) => (one === worker.address ? recordedWorker : one))]
      if (name === 'jobId') return [name, Number(ids.recorded('job', value))]
      return [name, name === 'instanceId' ? Number(ids.recorded('instance', value)) : value]
    })
    return JSON.stringify(Object.fromEntries(mapped))
  }

  const post = async (path: string, body: string): Promise<{ status: number; response: string }> => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${server.workerUrl}${path}`, { method: 'POST', headers, body })
    return { status: answer.status, response: await answer.text() }
  }

  const discover = async ({ n, path, status, response }: Line): Promise<void> => {
    const asked = path.replace('GET ', '').replace('appId=1', `appId=${ids.ours('app', '1')}`)
    const answer = await fetch(`${server.url}${asked.replace(recordedServer, ourServer)}`)
    const text = await answer.text()
    if (different.has(n)) {
      expect(JSON.parse(text), `line ${n}`).toEqual({ success: false, data: null, message: expect.any(String) })
      return
    }
    const expected = response
      .replace(/("data":|"appId":)1([,}])/, `$1${ids.ours('app', '1')}$2`)
      .replace(recordedServer, ourServer)
    expect({ status: answer.status, response: text }, `line ${n}`).toEqual({ status, response: expected })
    compared.add(n)
  }

  const say = async ({ n, path, body, status, response, at }: Line): Promise<void> => {
    // the recorder left out the entry itself
    const entry = { instanceId: Number(runId), logTime: at + laterMs, logLevel: 2, logContent: `line ${n}` }
    const logs = JSON.stringify({ workerAddress: worker.address, instanceLogContents: [entry] })
    const sent = path === '/server/reportLog' ? logs : ourText(typeof body === 'string' ? body : JSON.stringify(body))
    expect(await post(path, sent), `line ${n}: ${path} ${sent}`).toEqual({ status, response })
    compared.add(n)
  }

  const hear = async ({ n, path, body }: Line): Promise<void> => {
    if (different.has(n)) return
    const recorded = body as Readonly<Record<string, unknown>>
    const exact = exactOf(recorded['instanceId'])
    const known = ids.ours('instance', exact)
    const jobId = ids.ours('job', String(recorded['jobId']))
    const fits = (told: Told): boolean =>
      told.path === path &&
      // nobody called for the run of a job on a short interval: it is known by its job
      (known === undefined ? String(told.body['jobId']) === jobId : String(told.body['instanceId']) === known)
    const told = await worker.take(fits, `line ${n}: ${path} ${JSON.stringify(recorded)}`)
    runId = String(told.body['instanceId'])
    ids.learn('instance', exact, runId)
    // member for member in the same order, absent ones absent
    expect(asRecorded(told), `line ${n}`).toBe(JSON.stringify(recorded))
    expect(told.text, 'sent as it is read').toBe(JSON.stringify(told.body))
    expect([told.method, told.headers['content-type'], told.headers['content-length']], `line ${n}`).toEqual([
      'POST',
      'application/json',
      String(Buffer.byteLength(told.text)),
    ])
    // a worker would compress its answers
    expect(told.headers, `line ${n}`).not.toHaveProperty('accept-encoding')
    compared.add(n)
  }

  it('is said again, line by line, in the same words', async () => {
    for (const one of happened) {
      if ('requestBody' in one) await repeat(one)
      else if (one.direction === 'server→worker') await hear(one)
      else if (one.direction === 'worker→server') await say(one)
      else await discover(one)
    }
    expect(compared.size).toBe(52)
  }, 120_000)

  it('has no line that is neither compared nor listed', () => {
    expect(lines.map(({ n }) => n)).toEqual(Array.from({ length: 55 }, (_, i) => i + 1))
    expect([...compared, ...different.keys()].toSorted((one, other) => one - other)).toEqual(lines.map(({ n }) => n))
  })

  it('left nothing else to be said, but what is listed', () => {
    const left = worker.left.map(({ path, body }) => ({ path, instance: ids.recorded('instance', body['instanceId']) }))
    expect(left).toEqual(added.map(({ row: _row, ...one }) => one))
  })

  it('ended each run as it was first reported', async () => {
    const ended = await server.database.db.query<{ id: number; state: string; result: unknown }>(
      sql`select id, state, result from oncejob.run order by id`,
    )
    const states = new Map(ended.map(({ id, state }) => [ids.recorded('instance', id), state]))
    const results = new Map(ended.map(({ id, result }) => [ids.recorded('instance', id), result]))
    let judged = 0
    for (const { path, body, n } of lines) {
      if (path !== '/server/reportInstanceStatus') continue
      const { instanceId, instanceStatus } = exactJson(String(body)) as { instanceId: string; instanceStatus: number }
      if (!states.has(instanceId)) continue
      const expected = instanceStatus === 3 ? 'stopped' : instanceStatus === 5 ? 'succeeded' : 'failed'
      expect(states.get(instanceId), `line ${n}`).toBe(expected)
      // also where it was reported again, as "done again"
      if (instanceStatus === 5) expect(results.get(instanceId), `line ${n}`).toBe('"done"')
      judged += 1
    }
    // all but those of the two nodes
    expect(judged).toBe(15)
  })

  it('differs for reasons that the table of differences gives', () => {
    const table = readFileSync(new URL('../../../../../docs/from-powerjob.md', import.meta.url), 'utf8')
    const rows = new Set([...table.matchAll(/^\| (\d+) \|/gm)].map(([, number]) => Number(number)))
    for (const { row } of [...different.values(), ...before.values(), ...added])
      expect(rows, `row ${row}`).toContain(row)
  })
})
