// Promises of everything that a Java worker meets, on a whole server: a scripted worker, HTTP only, both ports.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sentJob } from '../testing/jobs.ts'
import { startRealWire, type RealWire } from '../testing/real-wire.ts'
import { startScriptedWorker, type ScriptedWorker } from '../testing/scripted-worker.ts'

let server: RealWire
let app: { readonly id: number; readonly name: string; readonly token: string }
let worker: ScriptedWorker
let jobId: number

const openApi = async (path: string, body: unknown, type = 'application/json'): Promise<unknown> => {
  const answer = await fetch(`${server.url}/openApi${path}`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  const { success, data, message } = (await answer.json()) as { success: boolean; data: unknown; message: string }
  if (!success) throw new Error(message)
  return data
}
const saveJob = async (more: object = {}): Promise<number> =>
  Number(await openApi('/saveJob', sentJob({ appId: app.id, ...more })))
const runJob = async (job = jobId): Promise<number> =>
  Number(await openApi('/runJob', `appId=${app.id}&jobId=${job}&delay=0`, 'application/x-www-form-urlencoded'))
const api = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
  const answer = await fetch(`${server.url}/api/v1/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${app.token}`,
      ...(body === undefined || Buffer.isBuffer(body) ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: Buffer.isBuffer(body) ? new Uint8Array(body) : JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, json: text === '' ? null : JSON.parse(text) }
}
/** Starts a run and waits until the worker has it. */
const started = async (job = jobId): Promise<number> => {
  await worker.heartbeat()
  const id = await runJob(job)
  await expect
    .poll(() => worker.toldAt('/worker/runJob').some(({ instanceId }) => instanceId === id), { timeout: 20_000 })
    .toBe(true)
  return id
}
const logOf = async (runId: number): Promise<{ text: string; worker?: string; attempt: number; level: string }[]> =>
  (await api('GET', `runs/${runId}/logs?limit=1000`)).json.lines
const say = (instanceId: number, atMs: number, text: string, level = 2) => ({
  instanceId,
  logTime: atMs,
  logLevel: level,
  logContent: text,
})
const sayAll = (from: ScriptedWorker, lines: object[]) =>
  from.post('/server/reportLog', { workerAddress: from.address, instanceLogContents: lines })

beforeAll(async () => {
  server = await startRealWire({ ONCEJOB_POWERJOB_AUTH: 'off', ONCEJOB_POWERJOB_MAX_JAR_BYTES: '1048576' })
  app = { name: 'bench', ...(await server.app('bench')) }
  worker = await startScriptedWorker(server.workerUrl, app)
  jobId = await saveJob()
})
afterAll(async () => {
  await worker?.stop()
  await server?.stop()
})

describe('a Java worker', () => {
  it('finds the server by the three calls of its start', async () => {
    const ask = async (path: string) => (await fetch(`${server.url}/server/${path}`)).json()
    expect(await ask(`assert?appName=bench`)).toEqual({ success: true, data: app.id, message: null })
    expect(await ask(`acquire?appId=${app.id}&protocol=HTTP`)).toEqual({
      success: true,
      data: server.workerUrl.replace('http://', ''),
      message: null,
    })
    expect(await ask(`checkConnectivity?targetIp=127.0.0.1&targetPort=1`)).toEqual({
      success: true,
      data: false,
      message: null,
    })
  })
  it('is told to be done with what no run here can be: an id of another server, beyond 2^53', async () => {
    const report = (status: number) =>
      worker.post(
        '/server/reportInstanceStatus',
        `{'appId':${app.id},"jobId":${jobId},"instanceId":1004656552407203904,"instanceStatus":${status},"startTime":1,"reportTime":2,"sourceAddress":"${worker.address}","unknown":[{}]}`,
      )
    expect(await report(5)).toEqual({ status: 200, text: '{"success":true}' })
    expect((await report(3)).status).toBe(200)
  })
  it('is heard on the web port as well', async () => {
    const other = await startScriptedWorker(server.url, app)
    expect(await other.heartbeat({ overload: true })).toEqual({ status: 200, text: '' })
    const { json } = await api('GET', 'workers')
    expect(json.items.map(({ address }: { address: string }) => address)).toContain(other.address)
    await other.stop()
  })
  it('may only speak of where it is, until its network is named', async () => {
    const foreign = { workerAddress: '10.77.0.7:27777' }
    const refused = await worker.heartbeat(foreign)
    expect(refused.status).toBe(403)
    expect(refused.text).toContain('oncejob apps set bench --worker-networks')
    expect((await worker.report(jobId, 1, 5, { sourceAddress: '10.77.0.7:27777' })).status).toBe(403)
    expect(
      (await worker.post('/server/reportLog', { workerAddress: '10.77.0.7:27777', instanceLogContents: [] })).status,
    ).toBe(403)
    expect((await worker.heartbeat({ appId: 999_999 })).status).toBe(403)
    expect((await worker.heartbeat({ appName: 'another' })).status).toBe(403)
    const wrong = await server
      .native('apps', { name: 'x1', powerjob: { workerNetworks: ['10.0.0.0/99'] } })
      .catch(String)
    expect(wrong).toContain('/powerjob/workerNetworks')
    await server.native('apps', { name: 'x2', powerjob: { workerNetworks: ['10.77.0.0/16'] } })
    expect((await worker.heartbeat(foreign)).status, 'networks of another app').toBe(403)
  })
})

describe('an app that names the networks of its workers', () => {
  it('has no others, not even where they are seen, and nobody outside asks in their name', async () => {
    const named = { name: 'named', ...(await server.app('named', { powerjob: { workerNetworks: ['10.77.0.0/16'] } })) }
    const outside = await startScriptedWorker(server.workerUrl, named)
    const refused = await outside.heartbeat()
    expect([refused.status, refused.text]).toEqual([403, expect.stringContaining('oncejob apps set named')])
    expect((await outside.report(jobId, 1, 5)).status).toBe(403)
    expect((await outside.post('/server/queryJobCluster', { appId: named.id, jobId: 1 })).status).toBe(403)
    await outside.stop()
  })
  it('takes no log lines for its runs from a place that only another app names', async () => {
    const strict = {
      name: 'strict',
      ...(await server.app('strict', { powerjob: { workerNetworks: ['127.0.0.0/8'] } })),
    }
    const inside = await startScriptedWorker(server.workerUrl, strict)
    expect((await inside.heartbeat()).status).toBe(200)
    const strictJob = Number(await openApi('/saveJob', sentJob({ appId: strict.id })))
    const run = `appId=${strict.id}&jobId=${strictJob}&delay=0`
    const id = Number(await openApi('/runJob', run, 'application/x-www-form-urlencoded'))
    await expect.poll(() => inside.toldAt('/worker/runJob').length, { timeout: 20_000 }).toBe(1)
    expect((await sayAll(inside, [say(id, Date.now(), 'from inside')])).status).toBe(200)
    // its place is not its place any more; that of another app it is
    await server.app('wide', { powerjob: { workerNetworks: ['127.0.0.0/8'] } })
    const change = await fetch(`${server.url}/api/v1/apps/strict`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${server.adminToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ powerjob: { workerNetworks: ['10.77.0.0/16'] } }),
    })
    expect(change.status).toBe(200)
    await expect.poll(async () => (await inside.heartbeat()).status, { timeout: 20_000 }).toBe(403)
    expect((await sayAll(inside, [say(id, Date.now(), 'from outside')])).status).toBe(200)
    const { lines } = (await (
      await fetch(`${server.url}/api/v1/runs/${id}/logs?limit=1000`, {
        headers: { authorization: `Bearer ${strict.token}` },
      })
    ).json()) as { lines: { text: string }[] }
    expect(lines.map(({ text }) => text)).toEqual(['from inside'])
    await inside.stop()
  })
})

describe('online logs', () => {
  it('become the log of the run: in the order of the worker, with its levels, whole texts, late ones too', async () => {
    const id = await started()
    const t = Date.now()
    // several requests at once, as a worker flushes
    await Promise.all([
      sayAll(worker, [say(id, t + 3, 'third', 3), say(id, t + 4, 'bad\njava.lang.RuntimeException: x\n\tat a.b', 4)]),
      sayAll(worker, [say(id, t + 1, 'first', 1), say(999_999, t, 'of nobody'), say(id, t + 2, 'second')]),
    ])
    await worker.report(jobId, id, 5)
    await expect.poll(async () => (await api('GET', `runs/${id}`)).json.state).toBe('succeeded')
    await sayAll(worker, [say(id, t + 5, 'after the end')])
    expect((await logOf(id)).map(({ text, level, worker: by, attempt }) => [text, level, by, attempt])).toEqual([
      ['first', 'debug', worker.address, 1],
      ['second', 'info', worker.address, 1],
      ['third', 'warn', worker.address, 1],
      ['bad\njava.lang.RuntimeException: x\n\tat a.b', 'error', worker.address, 1],
      ['after the end', 'info', worker.address, 1],
    ])
    const metrics = await (
      await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${app.token}` } })
    ).text()
    expect(Number(/powerjob_worker_log_lines_dropped_total (\d+)/.exec(metrics)?.[1])).toBeGreaterThan(0)
  })
  it('of a worker that does a part of a run are in its log, under the name of that worker', async () => {
    const id = await started()
    const part = await startScriptedWorker(server.workerUrl, app)
    await part.heartbeat({ overload: true })
    await sayAll(part, [say(id, Date.now(), 'a part')])
    await worker.report(jobId, id, 5)
    expect(await logOf(id)).toMatchObject([{ text: 'a part', worker: part.address, attempt: 1 }])
    await part.stop()
  })
  it('of a worker of another app never get into a run', async () => {
    const other = { name: 'other', ...(await server.app('other')) }
    const stranger = await startScriptedWorker(server.workerUrl, other)
    await stranger.heartbeat()
    const id = await started()
    expect((await sayAll(stranger, [say(id, Date.now(), 'intruding')])).status).toBe(200)
    await worker.report(jobId, id, 5)
    expect(await logOf(id)).toEqual([])
    await stranger.stop()
  })
  it('are followed live', async () => {
    const id = await started()
    const answer = await fetch(`${server.url}/api/v1/runs/${id}/logs/stream`, {
      headers: { authorization: `Bearer ${app.token}` },
    })
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
    await sayAll(worker, [say(id, Date.now(), 'live line')])
    let seen = ''
    while (!seen.includes('live line')) seen += (await reader?.read())?.value ?? ''
    await worker.report(jobId, id, 5)
    while (!seen.includes('event: end')) seen += (await reader?.read())?.value ?? ''
    expect(seen).toContain('"state":"succeeded"')
  })
})

describe('containers', () => {
  const jar = (text: string): Buffer => Buffer.from(`PK\u0003\u0004${text}`, 'latin1')
  const type = { 'content-type': 'application/java-archive' }

  it('are uploaded, deployed, loaded and deleted', async () => {
    await worker.heartbeat()
    const made = await api('POST', 'containers?name=demo', jar('one'), type)
    expect([made.status, made.headers.get('location')]).toEqual([201, `/api/v1/containers/${made.json.id}`])
    const { id, version } = made.json
    expect((await api('POST', 'containers?name=demo', jar('one'), type)).status).toBe(200)
    expect((await api('GET', 'containers')).json.items).toMatchObject([{ id, name: 'demo', size: 7, deployedAt: null }])

    const deployed = await api('POST', `containers/${id}/deploy`)
    expect([deployed.status, deployed.json]).toMatchObject([202, { id, version }])
    expect(deployed.json.workers).toContain(worker.address)
    await expect.poll(() => worker.toldAt('/worker/deployContainer').length).toBe(1)
    const [order] = worker.toldAt('/worker/deployContainer')
    expect(order).toMatchObject({ containerId: id, containerName: 'demo', version })
    const fetched = await fetch(String(order?.['downloadURL']))
    expect(Buffer.from(await fetched.arrayBuffer()).equals(jar('one'))).toBe(true)

    const stateHere = async (): Promise<string> =>
      (await api('GET', `containers/${id}`)).json.workers.find(
        (one: { address: string }) => one.address === worker.address,
      )?.state
    expect(await stateHere()).toBe('absent')
    await worker.heartbeat({ containerInfos: [{ containerId: id, version, deployedTime: 1_700_000_000_000 }] })
    await expect.poll(stateHere).toBe('loaded')

    const asked = await worker.post('/server/queryContainer', { containerId: id })
    const { success, data } = JSON.parse(asked.text)
    expect([success, JSON.parse(Buffer.from(data, 'base64url').toString())]).toMatchObject([
      true,
      { containerId: id, version },
    ])

    const external = await saveJob({
      processorType: 'EXTERNAL',
      processorInfo: `${id}#com.acme.P`,
      jobName: 'external',
    })
    expect((await api('DELETE', `containers/${id}`)).json).toMatchObject({
      code: 'CONTAINER_IN_USE',
      jobs: ['external'],
    })
    await openApi('/deleteJob', `appId=${app.id}&jobId=${external}`, 'application/x-www-form-urlencoded')
    expect((await api('DELETE', `containers/${id}`)).status).toBe(204)
    await expect.poll(() => worker.toldAt('/worker/destroyContainer')).toEqual([{ containerId: id }])
    expect((await api('GET', `containers/${id}`)).json.code).toBe('CONTAINER_NOT_FOUND')
    expect((await fetch(String(order?.['downloadURL']))).status).toBe(404)
    const audit = (await api('GET', 'audit-log')).json.items.map(({ action }: { action: string }) => action)
    for (const action of ['create', 'deploy', 'delete']) expect(audit).toContain(`container.${action}`)
  })
  it('are uploaded once for one request key, and another jar with it is refused', async () => {
    const key = { ...type, 'idempotency-key': 'upload-4711' }
    const [first, again] = [
      await api('POST', 'containers?name=keyed', jar('k'), key),
      await api('POST', 'containers?name=keyed', jar('k'), key),
    ]
    expect([first.status, again.status, again.headers.get('idempotent-replayed')]).toEqual([201, 201, 'true'])
    expect(again.json).toEqual(first.json)
    expect((await api('POST', 'containers?name=keyed', jar('other'), key)).json.code).toBe('IDEMPOTENCY_KEY_REUSED')
  })
  it('refuse what is no jar, too long, of another type or for another app, and names that are none', async () => {
    const code = async (...call: Parameters<typeof api>): Promise<unknown> => (await api(...call)).json.code
    expect(await code('POST', 'containers?name=a', Buffer.from('no jar'), type)).toBe('REQUEST_INVALID')
    expect(await code('POST', 'containers?name=a', Buffer.alloc(0), type)).toBe('REQUEST_INVALID')
    expect(await code('POST', 'containers?name=a', jar('x'.repeat(1_048_576)), type)).toBe('BODY_TOO_LARGE')
    expect(await code('POST', 'containers?name=a', { a: 1 })).toBe('MEDIA_TYPE_UNSUPPORTED')
    expect(await code('POST', 'containers', jar('x'), type)).toBe('REQUEST_INVALID')
    expect(await code('POST', 'containers?name=..%2Fx', jar('x'), type)).toBe('REQUEST_INVALID')
    const { json } = await api('POST', 'containers?name=mine', jar('m'), type)
    const stranger = await server.app('stranger')
    const theirs = await fetch(`${server.url}/api/v1/containers/${json.id}`, {
      headers: { authorization: `Bearer ${stranger.token}` },
    })
    expect(theirs.status).toBe(404)
    expect(
      (await fetch(`${server.url}/api/v1/containers?name=a`, { method: 'POST', headers: type, body: 'x' })).status,
    ).toBe(401)
  })
})

describe('the detail of a run', () => {
  it('comes from its worker while it has the run, with the tasks that were asked for, and later from its reports', async () => {
    const id = await started()
    worker.detail = () => ({
      actualTriggerTime: 1_795_301_106_076,
      status: 3,
      taskTrackerAddress: worker.address,
      taskDetail: { totalTaskNum: 9, succeedTaskNum: 4, failedTaskNum: 1, runningTaskNum: 2 },
      queriedTaskDetailInfoList: [
        {
          taskId: '0',
          taskName: 'OMS_ROOT_TASK',
          status: 5,
          failedCnt: 1,
          result: 'boom',
          processorAddress: worker.address,
          createdTime: 1,
          lastModifiedTime: 1_795_301_106_076,
        },
      ],
    })
    const { json } = await api('GET', `runs/${id}/powerjob?tasks=failed`)
    expect(json).toMatchObject({
      runId: id,
      source: 'live',
      worker: worker.address,
      startedAt: '2026-11-21T22:45:06.076Z',
      tasks: { total: 9, succeeded: 4, failed: 1, running: 2 },
      taskList: [{ id: '0', name: 'OMS_ROOT_TASK', state: 'failed', failures: 1, result: 'boom' }],
    })
    expect(worker.toldAt('/worker/queryInstanceStatus').at(-1)).toEqual({
      instanceId: id,
      customQuery: 'status = 5 order by last_modified_time desc',
    })
    for (const tasks of ['1%3D1', 'status%20%3D%205', 'failed%3Bdrop'])
      expect((await api('GET', `runs/${id}/powerjob?tasks=${tasks}`)).json.code).toBe('REQUEST_INVALID')
    worker.detail = undefined
    expect((await api('GET', `runs/${id}/powerjob`)).json).toMatchObject({
      source: 'stored',
      says: expect.stringContaining('worker'),
    })
    await worker.report(jobId, id, 5)
    await expect.poll(async () => (await api('GET', `runs/${id}`)).json.state).toBe('succeeded')
    expect((await api('GET', `runs/${id}/powerjob`)).json).toMatchObject({
      source: 'stored',
      worker: worker.address,
      taskList: [],
    })
  })
  it('is for the app of the run only, and for runs that a Java worker has had', async () => {
    expect((await api('GET', 'runs/999999/powerjob')).json.code).toBe('RUN_NOT_FOUND')
    const id = await started()
    await worker.report(jobId, id, 5)
    const stranger = await server.app('stranger-2')
    const theirs = await fetch(`${server.url}/api/v1/runs/${id}/powerjob`, {
      headers: { authorization: `Bearer ${stranger.token}` },
    })
    expect(theirs.status).toBe(404)
  })
})
