// The wire at the bytes: the header that keeps clients from sending twice, the envelope, and what is never answered.
import { afterEach, describe, expect, it } from 'vitest'
import { Outage } from '../kernel/errors.ts'
import { WireError, type Endpoint } from './call.ts'
import { connectRaw, once, rawRequest, type RawAnswer } from './testing/raw-http.ts'
import { md5, passed, passwordOf, startWire, testApp, type WireRig, type WireRigOptions } from './testing/wire-rig.ts'

const running: WireRig[] = []
const start = async (options: WireRigOptions = {}): Promise<WireRig> => {
  const rig = await startWire(options)
  running.push(rig)
  return rig
}
afterEach(async () => {
  await Promise.all(running.splice(0).map((rig) => rig.http.stop(5_000)))
})

const endpoint = (over: Partial<Endpoint> & Pick<Endpoint, 'path'>): Endpoint => ({
  accepts: 'form',
  mutates: true,
  app: 'appId',
  handle: async () => 15,
  ...over,
})

const ways: readonly Endpoint[] = [
  endpoint({ path: '/runJob' }),
  endpoint({ path: '/fetchJob', mutates: false, handle: async ({ fields }) => Object.fromEntries(fields) }),
  endpoint({ path: '/saveJob', accepts: 'json', handle: async ({ body }) => body }),
  endpoint({ path: '/addWorkflowNode', accepts: 'json', app: 'first-element', handle: async ({ body }) => body }),
  endpoint({ path: '/deleteJob', handle: async () => undefined }),
  endpoint({
    path: '/refuses',
    handle: () => Promise.reject(new WireError('IllegalArgumentException', "can't find job by jobId: 15")),
  }),
  endpoint({ path: '/breaks', handle: () => Promise.reject(new TypeError('a secret of the server')) }),
  endpoint({ path: '/outage', handle: () => Promise.reject(new Outage('connect ECONNREFUSED')) }),
]

const namesOf = (answer: RawAnswer): string[] => answer.lines.map((line) => line.split(':', 1)[0] ?? '')

/** What holds for every answer of the wire, whatever it says. */
const expectWire = (answer: RawAnswer, says: { passed?: 'true' | 'false'; status?: number } = {}): void => {
  expect(answer.status).toBe(says.status ?? 200)
  expect(answer.lines.filter((line) => /^x-powerjob-auth-passed/i.test(line))).toEqual([
    `X-POWERJOB-AUTH-PASSED: ${says.passed ?? 'true'}`,
  ])
  expect(answer.lines.filter((line) => /^content-type/i.test(line))).toEqual([
    expect.stringMatching(/^content-type: application\/json$/i),
  ])
  expect(answer.body.length).toBeGreaterThan(0)
  expect(namesOf(answer).map((name) => name.toLowerCase())).toContain('content-length')
  expect(answer.lines.join('\n')).not.toMatch(/retry-after|transfer-encoding|^location/im)
}

describe('every answer of the wire', () => {
  it('carries the header in its exact spelling, whatever became of the call', async () => {
    const rig = await start({ endpoints: ways })
    const headers = await rig.credentials()
    const { call, form, json } = rig
    const expired = { ...headers, 'X-POWERJOB-ACCESS-TOKEN': 'a.b.c' }
    const cases: [string, Buffer, { passed?: 'false'; status?: number }][] = [
      ['200', form('/runJob', { appId: '7', jobId: '1' }, headers), {}],
      ['void', form('/deleteJob', { appId: '7' }, headers), {}],
      ['business error', form('/refuses', { appId: '7' }, headers), {}],
      ['internal error', form('/breaks', { appId: '7' }, headers), {}],
      ['outage', form('/outage', { appId: '7' }, headers), {}],
      ['parse error', json('/saveJob', '{"appId":7,', headers), {}],
      ['no body', json('/saveJob', '', headers), {}],
      ['wrong content type', rawRequest('/openApi/saveJob', 'x', { ...headers, 'Content-Type': 'text/plain' }), {}],
      ['broken content type', rawRequest('/openApi/saveJob', 'x', { ...headers, 'Content-Type': ';;' }), {}],
      ['not a number', form('/runJob', { appId: 'abc' }, headers), {}],
      ['other app', form('/runJob', { appId: '8' }, headers), {}],
      ['no app', form('/runJob', {}, headers), {}],
      ['404', form('/nothing', {}, headers), { status: 404 }],
      ['404 of the prefix', rawRequest('/openApi'), { status: 404 }],
      ['404 with a query', rawRequest('/openApi?a=1'), { status: 404 }],
      ['404 with broken escapes', rawRequest('/openApi/%zz'), { status: 404 }],
      ['404 in other letters', rawRequest('/openApi/RunJob'), { status: 404 }],
      ['escaped prefix', rawRequest('/open%41pi/runJob'), { passed: 'false' }],
      ['whole address', rawRequest('http://localhost/openApi/nothing'), { status: 404 }],
      ['wrong method', rawRequest('/openApi/runJob', '', headers, 'GET'), {}],
      ['wrong method of authApp', rawRequest('/openApi/authApp', '', {}, 'PUT'), {}],
      ['/authApp', json('/authApp', { appName: 'shop', encryptedPassword: md5(passwordOf), encryptType: 'md5' }), {}],
      ['/authApp refused', json('/authApp', { appName: 'shop', encryptedPassword: md5('no'), encryptType: 'md5' }), {}],
      ['/assert', form('/assert', { appName: 'shop', password: passwordOf }), {}],
      ['/assert refused', form('/assert', { appName: 'nobody', password: 'x' }), {}],
      ['rejected token', form('/runJob', { appId: '7' }, expired), { passed: 'false' }],
      ['no token', form('/runJob', { appId: '7' }), { passed: 'false' }],
    ]
    for (const [name, bytes, says] of cases) {
      const answer = await call(bytes)
      expect.soft(answer.status, name).toBe(says.status ?? 200)
      expect.soft(passed(answer), name).toBe(says.passed ?? 'true')
      expectWire(answer, says)
    }
  })

  it('that is too long for the server is refused after it was read, and the connection goes on', async () => {
    const rig = await start({ endpoints: ways })
    const headers = await rig.credentials()
    const connection = await connectRaw(rig.url)
    connection.send(
      rig.json('/saveJob', JSON.stringify({ appId: 7, jobParams: 'x'.repeat(17 * 1024 * 1024) }), headers),
    )
    const refused = await connection.answer()
    expect(JSON.parse(refused?.body ?? '')).toMatchObject({
      success: false,
      message: expect.stringContaining('PowerJobException: A body may have at most 16777216 bytes'),
    })
    expectWire(refused!)
    connection.send(rig.form('/runJob', { appId: '7' }, headers))
    expect((await connection.answer())?.body).toBe('{"success":true,"data":15,"message":null}')
    connection.socket.destroy()
    const large = { appId: 7, jobParams: 'x'.repeat(15 * 1024 * 1024) }
    expect(JSON.parse((await rig.call(rig.json('/saveJob', large, headers))).body)).toMatchObject({ success: true })
  })

  it('to what is not HTTP carries the header where the path can be known, and is never 408', async () => {
    const { url } = await start({ endpoints: ways })
    for (const bytes of [
      'POST /openApi/runJob HTTP/1.1\r\nHost: x\r\nContent-Length: nonsense\r\n\r\n',
      `POST /openApi/runJob HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(40_000)}\r\n\r\n`,
      'POST /openApi/runJob HTTP/7.7\r\n\r\n',
    ]) {
      const answer = await once(url, bytes)
      expect(answer?.status).toBe(400)
      expect(passed(answer!)).toBe('true')
      expect(JSON.parse(answer!.body)).toMatchObject({ success: false, data: null, code: null })
    }
    const native = await once(url, 'POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: nonsense\r\n\r\n')
    expect(native?.lines.join()).not.toMatch(/powerjob/i)
    // the second request of a connection is not known by its path, but by the first one
    const connection = await connectRaw(url)
    connection.send(rawRequest('/openApi/runJob', '', {}))
    expect((await connection.answer())?.status).toBe(200)
    connection.send('\u0001\u0002\r\n\r\n')
    expect(passed((await connection.answer())!)).toBe('true')
  })

  it('of other addresses does not carry it', async () => {
    const { url } = await start({ endpoints: ways })
    for (const path of ['/', '/openApiX/runJob', '/openapi/runJob', '/api/v1/openApi/runJob', '/openApix']) {
      const answer = await once(url, rawRequest(path))
      expect(answer?.status, path).toBe(404)
      expect(answer?.lines.join(), path).not.toMatch(/powerjob/i)
    }
  })
})

describe('the envelope', () => {
  it('has nulls, and a code only where PowerJob has one', async () => {
    const { call, form, json, credentials } = await start({ endpoints: ways })
    const headers = await credentials()
    const bodyOf = async (bytes: Buffer): Promise<string> => (await call(bytes)).body
    const ofShop = { appId: '7' }
    expect(await bodyOf(form('/runJob', ofShop, headers))).toBe('{"success":true,"data":15,"message":null}')
    expect(await bodyOf(form('/deleteJob', ofShop, headers))).toBe('{"success":true,"data":null,"message":null}')
    expect(await bodyOf(form('/refuses', ofShop, headers))).toBe(
      `{"success":false,"data":null,"message":"IllegalArgumentException: can't find job by jobId: 15","code":null}`,
    )
    expect(await bodyOf(form('/runJob', { appId: 'abc' }, headers))).toBe(
      `{"success":false,"data":null,"message":${JSON.stringify(
        `MethodArgumentTypeMismatchException: Failed to convert value of type 'java.lang.String' to required type 'java.lang.Long'; nested exception is java.lang.NumberFormatException: For input string: "abc"`,
      )},"code":null}`,
    )
    expect(await bodyOf(rawRequest('/openApi/runJob', '', headers, 'GET'))).toBe(
      `{"success":false,"data":null,"message":"HttpRequestMethodNotSupportedException: Request method 'GET' not supported","code":null}`,
    )
    expect(await bodyOf(json('/saveJob', '', headers))).toBe(
      '{"success":false,"data":null,"message":"HttpMessageNotReadableException: Required request body is missing: POST /openApi/saveJob","code":null}',
    )
    expect(await bodyOf(json('/saveJob', '{', headers))).toContain(
      'HttpMessageNotReadableException: JSON parse error: ',
    )
    expect(await bodyOf(form('/saveJob', ofShop, headers))).toBe(
      `{"success":false,"data":null,"message":"HttpMediaTypeNotSupportedException: Content type 'application/x-www-form-urlencoded' not supported","code":null}`,
    )
    expect(await bodyOf(form('/runJob', {}, headers))).toContain('"NullPointerException: ')
    expect(await bodyOf(form('/runJob', ofShop))).toBe(
      '{"success":false,"message":"INVALID_REQUEST:lack_of_appId_in_header","code":"-300"}',
    )
    expect(JSON.parse(await bodyOf(rawRequest('/openApi/nothing')))).toEqual({
      status: 404,
      error: 'Not Found',
      path: '/openApi/nothing',
    })
  })

  it('of a bug tells nothing but the request id, and of an outage that the outcome is not known', async () => {
    const { call, form, credentials, logged } = await start({ endpoints: ways })
    const headers = await credentials()
    const bug = await call(form('/breaks', { appId: '7' }, headers))
    const id = /x-request-id: (\S+)/i.exec(bug.lines.join('\n'))?.[1] ?? 'none'
    expect(JSON.parse(bug.body)).toMatchObject({ success: false, message: expect.stringContaining(id) })
    expect(bug.body).not.toContain('secret')
    expect(logged.find(({ level }) => level === 'error')?.facts).toMatchObject({ requestId: id, path: '/breaks' })
    const outage = await call(form('/outage', { appId: '7' }, headers))
    expect(outage.body).toContain('what became of this call is not known')
    expect(outage.body).not.toContain('ECONNREFUSED')
  })
})

describe('a call', () => {
  it('may send its fields as a form with or without a charset, or as a query', async () => {
    const { call, credentials } = await start({ endpoints: ways })
    const headers = await credentials()
    const fields = 'appId=7&text=a%20b%2Bc+d%C3%A9&empty='
    const type = 'application/x-www-form-urlencoded'
    for (const bytes of [
      rawRequest('/openApi/fetchJob', fields, { ...headers, 'Content-Type': type }),
      rawRequest('/openApi/fetchJob', fields, { ...headers, 'Content-Type': `${type}; charset=utf-8` }),
      rawRequest(`/openApi/fetchJob?${fields}`, '', headers),
      rawRequest('/openApi/fetchJob?appId=7&text=a%20b%2Bc+d%C3%A9', 'empty=', { ...headers, 'Content-Type': type }),
      rawRequest(`/openApi/fetchJob?${fields}`, fields, { ...headers, 'Content-Type': type }),
    ]) {
      const { data } = JSON.parse((await call(bytes)).body) as { data: unknown }
      expect(data).toEqual({ appId: '7', text: 'a b+c dé', empty: '' })
    }
    // as for PowerJob, JSON has no fields for a form
    const json = rawRequest('/openApi/fetchJob', '{"appId":7}', { ...headers, 'Content-Type': 'application/json' })
    expect((await call(json)).body).toContain('NullPointerException')
  })

  it('with what can not be stored as it was sent is refused before its handler', async () => {
    const seen: unknown[] = []
    const watch = async ({ body, fields }: { body: unknown; fields: ReadonlyMap<string, string> }): Promise<number> =>
      seen.push(body ?? Object.fromEntries(fields))
    const { call, json, credentials } = await start({
      endpoints: [
        endpoint({ path: '/saveJob', accepts: 'json', handle: watch }),
        endpoint({ path: '/runJob', handle: watch }),
      ],
    })
    const headers = await credentials()
    const deep = '['.repeat(500_000) + ']'.repeat(500_000)
    for (const [body, says] of [
      [String.raw`{"appId":7,"jobName":"a\u0000b"}`, 'U+0000'],
      [String.raw`{"appId":7,"jobName":"\ud800"}`, 'surrogate'],
      [String.raw`{"appId":7,"a\udc00":1}`, 'surrogate'],
      ['{"appId":7,"__proto__":{"admin":true}}', '__proto__'],
      [String.raw`{"appId":7,"x":{"\u005f_proto__":1}}`, '__proto__'],
      [`{"appId":7,"dag":${deep}}`, 'nested deeper'],
      ['{"appId":7,"id":9223372036854775808}', 'out of range of long'],
      ['{"appId":7,"id":1e400}', 'out of range'],
      ['[]', 'an object is expected'],
      ['7', 'an object is expected'],
      ['null', 'body is missing'],
    ] as const) {
      const answer = await call(json('/saveJob', body, headers))
      expect(JSON.parse(answer.body), body.slice(0, 60)).toMatchObject({
        success: false,
        message: expect.stringContaining(says),
      })
      expectWire(answer)
    }
    const form = { ...headers, 'Content-Type': 'application/x-www-form-urlencoded' }
    for (const [body, says] of [
      ['appId=7&instanceParams=a%00b', 'U+0000'],
      ['appId=7&instanceParams=%ff', 'percent-encoded UTF-8'],
      ['appId=7&instanceParams=%zz', 'percent-encoded UTF-8'],
      ['appId=7&jobId=1&jobId=2', 'given twice'],
      [Buffer.from([0x61, 0x70, 0xff]), 'not UTF-8'],
    ] as const) {
      const answer = await call(rawRequest('/openApi/runJob', body, form))
      expect(JSON.parse(answer.body)).toMatchObject({ success: false, message: expect.stringContaining(says) })
    }
    expect(seen).toEqual([])
    expect(
      JSON.parse(
        (await call(json('/saveJob', '{"appId":7,"id":9007199254740993,"x":1.5,"n":-9223372036854775808}', headers)))
          .body,
      ),
    ).toMatchObject({ success: true })
    await call(rawRequest('/openApi/runJob', 'appId=7&jobId=1&jobId=1', form))
    expect(seen).toEqual([
      { appId: 7, id: '9007199254740993', x: 1.5, n: '-9223372036854775808' },
      { appId: '7', jobId: '1' },
    ])
  })

  it('of a client that has hung up before it could begin is not executed', async () => {
    let executed = 0
    let letGo = (): void => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    let arrived = (): void => undefined
    const isHere = new Promise<void>((resolve) => (arrived = resolve))
    const { url, form, credentials, logged } = await start({
      endpoints: [endpoint({ path: '/runJob', handle: async () => (executed += 1) })],
      resends: {
        onIssued: async () => undefined,
        onRejected: async () => undefined,
        run: async (_call, execute) => {
          arrived()
          await held
          return { answer: await execute({ id: null, key: null }), collapsed: null }
        },
        delivered: () => undefined,
        undelivered: () => undefined,
      },
    })
    const headers = await credentials()
    const connection = await connectRaw(url)
    connection.send(form('/runJob', { appId: '7' }, headers))
    await isHere
    connection.socket.destroy()
    await expect
      .poll(async () => {
        const other = await once(url, rawRequest('/openApi/nothing'))
        return other?.status
      })
      .toBe(404)
    letGo()
    await expect.poll(() => logged.some(({ facts }) => facts['outcome'] === 'abandoned')).toBe(true)
    expect(executed).toBe(0)
  })

  it('leaves one line in the log and one count, also when it fails', async () => {
    const { call, form, credentials, logged, registry } = await start({ endpoints: ways })
    const headers = await credentials()
    await call(form('/runJob', { appId: '7' }, headers))
    await call(form('/refuses', { appId: '7' }, { ...headers }))
    await call(form('/runJob', { appId: '7' }, { 'User-Agent': 'okhttp/3.14.9' }))
    await call(form('/nothing', {}))
    const lines = logged.filter(({ message }) => message === 'openapi call answered').map(({ facts }) => facts)
    expect(lines).toMatchObject([
      { path: '/authApp', app: 'shop', client: '5.x', outcome: 'ok' },
      { path: '/runJob', app: 'shop', client: '5.x', outcome: 'ok', tookMs: expect.any(Number) },
      { path: '/refuses', client: '5.x', outcome: 'refused' },
      { path: '/runJob', client: '4.x', outcome: 'rejected' },
      { path: '/nothing', client: 'other', outcome: 'unknown-path' },
    ])
    expect(logged.filter(({ message }) => message === 'request answered')).toEqual([])
    const metrics = await registry.metrics()
    expect(metrics).toContain('openapi_calls_total{path="/runJob",outcome="rejected"} 1')
    expect(metrics).toContain('openapi_calls_total{path="other",outcome="unknown-path"} 1')
    expect(metrics).toMatch(
      /http_request_duration_seconds_count\{method="POST",route="\/openApi\/runJob",status="2xx"\} 2/,
    )
  })
})

describe('a stop', () => {
  it('loses no answer: what is executed is answered, on kept connections as well, and each is told to hang up', async () => {
    let executed = 0
    const rig = await start({
      endpoints: [
        endpoint({
          path: '/runJob',
          handle: async () => {
            await new Promise((resolve) => void setTimeout(resolve, 20))
            return (executed += 1)
          },
        }),
      ],
    })
    const headers = await rig.credentials()
    let answered = 0
    let stopping = false
    const afterStop: RawAnswer[] = []
    const client = async (): Promise<void> => {
      const connection = await connectRaw(rig.url)
      for (;;) {
        connection.send(rig.form('/runJob', { appId: '7' }, headers))
        const answer = await connection.answer()
        if (answer === undefined) return
        expectWire(answer)
        expect(JSON.parse(answer.body)).toMatchObject({ success: true })
        answered += 1
        if (stopping) afterStop.push(answer)
        if (answer.lines.some((line) => /^connection: close/i.test(line))) return
      }
    }
    const clients = Array.from({ length: 20 }, client)
    await expect.poll(() => answered).toBeGreaterThan(40)
    stopping = true
    await rig.http.stop(5_000)
    await Promise.all(clients)
    expect(answered).toBe(executed)
    expect(afterStop.length).toBeGreaterThan(0)
    expect(afterStop.some(({ lines }) => lines.some((line) => /^connection: close/i.test(line)))).toBe(true)
  })

  it('answers what arrives on a connection made before as usual, and unknown paths too', async () => {
    const rig = await start({ endpoints: ways })
    const headers = await rig.credentials()
    const [idle, other] = await Promise.all([connectRaw(rig.url), connectRaw(rig.url)])
    idle.send(rig.form('/runJob', { appId: '7' }, headers))
    await idle.answer()
    const stopped = rig.http.stop(5_000)
    idle.send(rig.form('/runJob', { appId: '7' }, headers))
    other.send(rawRequest('/openApi/nothing'))
    const answers = [await idle.answer(), await other.answer()]
    expect(answers.map((answer) => answer?.status)).toEqual([200, 404])
    expect(JSON.parse(answers[0]?.body ?? '')).toMatchObject({ success: true })
    for (const answer of answers) {
      expect(passed(answer!)).toBe('true')
      expect(answer?.lines.join('\n')).toMatch(/^connection: close$/im)
    }
    await stopped
  })
})

it('connections are kept longer than the pool of the clients', async () => {
  const { http } = await start({ endpoints: ways })
  expect(http.app.server.keepAliveTimeout).toBeGreaterThanOrEqual(310_000)
  // a client that uses a connection until the announced time is over is not cut off in the middle
  expect(http.app.server.keepAliveTimeoutBuffer).toBeGreaterThanOrEqual(10_000)
})

it('an app without tokens and a check that is off still send the header', async () => {
  const apps = [await testApp(7, 'shop', { tokenless: true })]
  const rig = await start({ endpoints: ways, apps })
  expectWire(await rig.call(rig.form('/runJob', { appId: '7' })))
  const off = await start({ endpoints: ways, settings: { auth: false } })
  expectWire(await off.call(off.form('/runJob', { appId: '7' })))
})
