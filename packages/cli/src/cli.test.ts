// The commands against a server that answers what each test tells it, in this process and as a child.
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { RunDetail } from '@oncejob/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { commands } from './commands/index.ts'
import { exitCodes, runCli } from './index.ts'

interface Seen {
  route: string
  headers: IncomingHttpHeaders
  body: unknown
}
type Answer = [status: number, body: unknown] | ((response: ServerResponse) => void)

const at = '2026-11-25T09:30:00.000Z'
const nowMs = Date.parse(at) + 3000
const run = (more: Partial<RunDetail> = {}): RunDetail => ({
  id: 7,
  app: 'shop',
  jobId: 1,
  job: 'sum',
  state: 'succeeded',
  trigger: 'call',
  fireAt: null,
  requestKey: 'order-4711',
  key: null,
  params: { a: 1 },
  priority: 0,
  createdAt: at,
  dueAt: at,
  queueDeadlineAt: null,
  startedAt: at,
  endedAt: at,
  attempts: 1,
  worker: 'w-1',
  progress: null,
  stopRequested: false,
  guarantee: 'at-least-once',
  decidedBy: null,
  result: { sum: 3 },
  resultTruncated: false,
  error: null,
  attemptHistory: [],
  why: [],
  ...more,
})
const job = {
  id: 1,
  name: 'sum',
  version: 3,
  enabled: true,
  processor: 'sum',
  nextFireAt: null,
  schedule: { trigger: { kind: 'none' } },
}
const refusal = (status: number, code: string, facts: object = {}): Answer => [
  status,
  { type: 'about:blank', title: code, status, code, detail: `detail of ${code}`, retry: 'never', ...facts },
]

let folder: string
let url: string
let seen: Seen[]
let answers: Record<string, Answer>
let stop: () => Promise<unknown>

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'oncejob-cli-'))
  seen = []
  answers = {}
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const text = Buffer.concat(parts).toString()
      const route = `${request.method} ${request.url}`
      const isJson = request.headers['content-type'] === 'application/json'
      seen.push({ route, headers: request.headers, body: text === '' ? undefined : isJson ? JSON.parse(text) : text })
      const answer = answers[route] ?? answers[route.replace(/\?.*/, '')] ?? refusal(404, 'ROUTE_NOT_FOUND')
      if (typeof answer === 'function') return answer(response)
      response.writeHead(answer[0], { 'content-type': 'application/json' })
      response.end(answer[1] === undefined ? '' : JSON.stringify(answer[1]))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  stop = () =>
    new Promise((resolve) => {
      server.close(resolve)
      server.closeAllConnections()
    })
})
afterEach(async () => {
  await stop()
  rmSync(folder, { recursive: true, force: true })
})

interface Ended {
  code: number
  out: string
  err: string
}
interface Terminal {
  env?: Record<string, string>
  tty?: boolean
  columns?: number
}

/** Runs one command line in this process. */
const cli = async (argv: string[], { env = {}, tty = false, columns }: Terminal = {}): Promise<Ended> => {
  let out = ''
  let err = ''
  const code = await runCli(argv, {
    env: { ONCEJOB_URL: url, ONCEJOB_TOKEN: 'secret', ONCEJOB_APP: 'shop', ...env },
    stdout: (text) => void (out += text),
    stderr: (text) => void (err += text),
    stdoutIsTty: tty,
    stderrIsTty: tty,
    columns,
    nowMs: () => nowMs,
  })
  return { code, out, err }
}

describe('a command', () => {
  it('takes server, token and app from its options before the environment', async () => {
    answers['GET /api/v1/jobs/1'] = [200, job]
    await cli(['jobs', 'show', '1', '--json', '--token', 'other', '--app', 'till'], { env: { ONCEJOB_APP: 'shop' } })
    expect(seen[0]?.route).toBe('GET /api/v1/jobs/1?app=till')
    expect(seen[0]?.headers.authorization).toBe('Bearer other')
  })

  it('takes the token of the local server from its data folder', async () => {
    writeFileSync(join(folder, 'admin-token'), 'from-file\n')
    answers['GET /api/v1/me'] = [200, { scope: 'admin', app: null, namespace: null, name: 'admin' }]
    const env = { ONCEJOB_TOKEN: '' }
    expect(await cli(['me', '--data', folder], { env })).toMatchObject({ code: 0 })
    expect(await cli(['me'], { env: { ...env, ONCEJOB_DATA: folder } })).toMatchObject({ code: 0 })
    expect(seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer from-file', 'Bearer from-file'])
  })

  it('without a token says where one could be', async () => {
    const { code, err } = await cli(['me', '--data', join(folder, 'none')], { env: { ONCEJOB_TOKEN: '' } })
    expect(code).toBe(2)
    expect(err).toContain('ONCEJOB_TOKEN')
    expect(err).toContain('admin-token')
  })

  it.each([
    [401, 'TOKEN_INVALID', 4],
    [403, 'ADMIN_ONLY', 4],
    [404, 'JOB_NOT_FOUND', 5],
    [409, 'RUN_ENDED', 6],
    [400, 'REQUEST_INVALID', 1],
  ])('that is refused with %i %s ends with %3$i', async (status, error, code) => {
    answers['POST /api/v1/runs/7/cancel'] = refusal(status, error)
    const ended = await cli(['run', 'cancel', '7'])
    expect(ended).toMatchObject({ code, out: '' })
    expect(ended.err).toBe(`oncejob: ${error}: detail of ${error}\n`)
  })

  it('that does not fit the schema shows what is wrong where', async () => {
    const issues = [{ path: '/priority', says: 'must be at most 1000' }]
    answers['POST /api/v1/runs'] = refusal(400, 'REQUEST_INVALID', { issues, instance: 'r-1' })
    const { err } = await cli(['run', 'sum'])
    expect(err).toContain('(request r-1)\n  /priority: must be at most 1000\n')
  })

  it('to no server ends with 3', async () => {
    await stop()
    const { code, err } = await cli(['me'])
    expect(code).toBe(3)
    expect(err).toContain(`no server answers at ${url}`)
  })

  it('whose answer was lost is sent again with its key', async () => {
    answers['POST /api/v1/runs'] = (response) => {
      answers['POST /api/v1/runs'] = [201, { id: 7 }]
      response.destroy()
    }
    expect(await cli(['run', 'sum'])).toEqual({ code: 0, out: 'run 7 was created\n', err: '' })
    expect(seen[0]?.headers['idempotency-key']).toMatch(/^ik_/)
    expect(seen[1]?.headers['idempotency-key']).toBe(seen[0]?.headers['idempotency-key'])
  })

  it('that never gets an answer ends with 7 and names the command that looks', async () => {
    answers['POST /api/v1/runs'] = (response) => response.destroy()
    const { code, out, err } = await cli(['run', 'sum', '--request-key', 'order-4711'])
    expect({ code, out }).toEqual({ code: 7, out: '' })
    expect(err).toContain('\nhint: oncejob key order-4711 shows what became of it\n')
    // An admin's key is looked up in the app that the call was for.
    const there = await cli([
      'run',
      'sum',
      '--request-key',
      "it's$4711",
      '--app',
      'till',
      '--url',
      url,
      '--token',
      'other',
    ])
    expect(there.err).toContain(`\nhint: oncejob key 'it'\\''s$4711' --url ${url} --app till shows`)
  }, 30_000)

  it('key shows what became of a call, and ends with 5 when nothing did', async () => {
    answers['GET /api/v1/idempotency-keys/order-4711'] = [
      200,
      {
        key: 'order-4711',
        state: 'completed',
        status: 201,
        route: 'POST /api/v1/runs',
        requestId: 'r-1',
        location: '/api/v1/runs/7',
        createdAt: at,
        expiresAt: '2026-11-28T09:30:03.000Z',
      },
    ]
    const { code, out } = await cli(['key', 'order-4711'])
    expect(code).toBe(0)
    expect(out).toContain('POST /api/v1/runs\n')
    expect(out).toContain('/api/v1/runs/7\n')
    expect(out).toContain('2026-11-25 09:30:00Z, 3 s ago')
    expect(out).toContain('in 3 d')
    expect(JSON.parse((await cli(['key', 'order-4711', '--json'])).out)).toMatchObject({ status: 201 })
    answers['GET /api/v1/idempotency-keys/order-4712'] = refusal(404, 'IDEMPOTENCY_KEY_NOT_FOUND')
    expect(await cli(['key', 'order-4712'])).toMatchObject({
      code: 5,
      out: '',
      err: expect.stringContaining('no call with the key order-4712 has taken effect'),
    })
  })

  it.each([
    [['jbos'], 'did you mean "jobs"?'],
    [['jobs', 'aply'], 'did you mean "jobs apply"?'],
    [['runs', '--what'], "Unknown option '--what'"],
    [['runs', '--cron', 'x'], '"runs" has no option --cron'],
    [['run', 'show'], '"run show" needs ID'],
    [['run', 'show', 'abc'], 'an id is a whole number'],
    [['run', 'sum', 'twice'], '"twice" is one word too many'],
    [['run'], 'name a job, or give a file with one'],
    [['run', 'sum', '--save', 'sum.json'], 'name a job, or give a file with one'],
    [['run', '--save', '/no/such/file'], '/no/such/file can not be read'],
    [['run', 'sum', '--params', '{'], '--params is not JSON'],
    [['run', 'sum', '--params', '@/no/such/file'], 'can not be read'],
    [['runs', '--state', 'done'], '--state is a list of'],
    [['runs', '--limit', '0'], '--limit is a whole number from 1 to 500'],
    [['jobs', 'preview'], 'name a job, or give --cron EXPR'],
    [['me', '--url', 'nowhere'], 'not a server URL'],
    [['key', '4711'], 'a request key is 8 to 255 visible ASCII characters'],
  ])('%j is wrong usage: one line, a hint, 2', async (argv, says) => {
    const { code, out, err } = await cli(argv)
    expect(code).toBe(2)
    expect(out).toBe('')
    expect(err).toContain(says)
    expect(err).toMatch(/^oncejob: [^\n]+\nhint: oncejob help[^\n]*\n$/)
    expect(seen).toEqual([])
  })
})

describe('help', () => {
  it('names every command and every exit code', async () => {
    const { code, out } = await cli(['help'])
    expect(code).toBe(0)
    for (const { name } of commands) expect(out).toContain(`  ${name}`)
    for (const { code: number, says } of Object.values(exitCodes))
      expect(out).toMatch(new RegExp(`^ +${number} +${says.slice(0, 20)}`, 'm'))
    expect(await cli(['--help'])).toEqual({ code: 0, out, err: '' })
    expect(await cli([])).toEqual({ code: 2, out: '', err: out })
  })

  it.each(commands.map(({ name }) => [name]))('of %s shows its options', async (name) => {
    const command = commands.find((one) => one.name === name)
    const { code, out } = await cli(['help', ...name.split(' ')])
    expect(code).toBe(0)
    for (const option of Object.keys(command?.options ?? {})) expect(out).toContain(`--${option}`)
    expect((await cli([...name.split(' '), '-h'])).out).toBe(out)
  })

  it('does not give two meanings to an option', () => {
    const kinds = new Map<string, string>()
    for (const { name, options } of commands) {
      for (const [option, { value }] of Object.entries(options)) {
        const kind = value === undefined ? 'switch' : 'value'
        expect(`${name} --${option}: ${kinds.get(option) ?? kind}`).toBe(`${name} --${option}: ${kind}`)
        kinds.set(option, kind)
      }
    }
  })
})

describe('run-key', () => {
  const path = '/api/v1/jobs/bill/run-keys/order%204711'
  const known = {
    key: 'order 4711',
    scope: 'job',
    runId: 7,
    state: 'succeeded',
    inputHash: 'h',
    after: null,
    endedAt: at,
    expiresAt: '2026-11-28T09:30:03.000Z',
    ttlMs: 259_203_000,
  }

  it('show tells what a key stands for', async () => {
    answers[`GET ${path}`] = [200, known]
    const { code, out } = await cli(['run-key', 'show', 'order 4711', '--job', 'bill'])
    expect(code).toBe(0)
    for (const part of ['order 4711 (of the job)', 'succeeded', 'in 3 d']) expect(out).toContain(part)
    answers['GET /api/v1/run-keys/k'] = [
      200,
      { ...known, scope: 'app', state: 'waiting', after: 6, endedAt: null, expiresAt: null, ttlMs: null },
    ]
    const open = await cli(['run-key', 'show', 'k'])
    for (const part of ['of the app', '7, waits for run 6', 'for ever']) expect(open.out).toContain(part)
    answers['GET /api/v1/run-keys/other'] = refusal(404, 'RUN_KEY_NOT_FOUND')
    expect((await cli(['run-key', 'show', 'other'])).code).toBe(5)
  })

  it('reset frees a key, by force when its run is open', async () => {
    answers[`DELETE ${path}`] = refusal(409, 'RUN_KEY_CONFLICT')
    expect((await cli(['run-key', 'reset', 'order 4711', '--job', 'bill'])).code).toBe(6)
    answers[`DELETE ${path}?app=shop&force=true`] = [200, { key: 'order 4711', runId: 7, state: 'canceled' }]
    answers[`DELETE ${path}?force=true&app=shop`] = [200, { key: 'order 4711', runId: 7, state: 'canceled' }]
    const { code, out } = await cli(['run-key', 'reset', 'order 4711', '--job', 'bill', '--force'])
    expect({ code, out }).toEqual({ code: 0, out: 'the key order 4711 is free; run 7 is canceled\n' })
  })
})

describe('run', () => {
  it('asks for a run with everything that was typed', async () => {
    writeFileSync(join(folder, 'params.json'), '{"city":"Zürich"}')
    answers['POST /api/v1/runs'] = [201, { id: 7 }]
    const params = `@${join(folder, 'params.json')}`
    const ended = await cli([
      'run',
      'sum',
      '-p',
      params,
      '--delay',
      '90s',
      '--priority',
      '5',
      '--request-key',
      'order-4711',
    ])
    expect(ended).toEqual({ code: 0, out: 'run 7 was created\n', err: '' })
    expect(seen[0]).toMatchObject({
      body: { job: 'sum', params: { city: 'Zürich' }, delayMs: 90_000, priority: 5 },
      headers: { 'idempotency-key': 'order-4711' },
    })
    expect((await cli(['run', '42', '--json'])).out).toBe('{\n  "id": 7\n}\n')
    expect(seen[1]?.body).toEqual({ job: 42 })
  })

  it('with --key asks for at most one run of the key, and says what came of it', async () => {
    answers['POST /api/v1/runs'] = [201, { id: 7, deduplicated: false }]
    const policy = ['--on-open', 'after', '--on-closed', 'allow', '--key-scope', 'app', '--on-mismatch', 'ignore']
    const ended = await cli(['run', 'sum', '--key', 'order 4711', '--key-ttl', '2h', ...policy])
    expect(ended).toEqual({ code: 0, out: 'run 7 was created\n', err: '' })
    expect(seen[0]?.body).toEqual({
      job: 'sum',
      key: 'order 4711',
      keyPolicy: { scope: 'app', onOpen: 'after', onClosed: 'allow', ttlMs: 7_200_000, onInputMismatch: 'ignore' },
    })
    answers['POST /api/v1/runs'] = [200, { id: 7, deduplicated: true }]
    expect((await cli(['run', 'sum', '--key', 'k', '--key-ttl', 'forever'])).out).toBe('run 7 was there already\n')
    expect(seen[1]?.body).toEqual({ job: 'sum', key: 'k', keyPolicy: { ttlMs: null } })
    answers['POST /api/v1/runs'] = [201, { id: 8, deduplicated: false, replaces: 7 }]
    expect((await cli(['run', 'sum', '--key', 'k'])).out).toBe('run 8 was created and replaces run 7\n')
    expect(seen[2]?.body).toEqual({ job: 'sum', key: 'k' })
    answers['POST /api/v1/runs'] = [201, { id: 8, deduplicated: false, after: 7 }]
    expect((await cli(['run', 'sum', '--key', 'k'])).out).toBe('run 8 was created and starts after run 7\n')
    expect((await cli(['run', 'sum', '--on-open', 'after'])).err).toContain('go with --key KEY')
    expect((await cli(['run', 'sum', '--key', 'k', '--on-open', 'maybe'])).code).toBe(2)
    answers['POST /api/v1/runs'] = refusal(409, 'RUN_KEY_CONFLICT', { existingRunId: 7 })
    expect((await cli(['run', 'sum', '--key', 'k', '--on-open', 'reject'])).code).toBe(6)
  })

  it('with --save saves the job of a file and runs it in one call', async () => {
    const file = join(folder, 'sum.json')
    const sum = { name: 'sum', processor: 'sum', maxConcurrentRuns: 1 }
    writeFileSync(file, JSON.stringify(sum))
    const saved = { job: { id: 1, name: 'sum', version: 2, outcome: 'updated' }, run: { id: 7 } }
    answers['POST /api/v1/jobs:run'] = [201, saved]
    const ended = await cli(['run', '--save', file, '-p', '[1]', '--request-key', 'order-4711'])
    expect(ended).toEqual({ code: 0, out: 'job "sum" (1) was updated\nrun 7 was created\n', err: '' })
    expect(seen[0]).toMatchObject({
      body: { job: sum, run: { params: [1] } },
      headers: { 'idempotency-key': 'order-4711' },
    })
    expect(JSON.parse((await cli(['run', '--save', file, '--json'])).out)).toEqual(saved)
    answers['GET /api/v1/runs/7'] = [200, run({ state: 'failed' })]
    expect((await cli(['run', '--save', file, '--wait'])).code).toBe(10)
    writeFileSync(file, JSON.stringify({ format: 'oncejob.jobs/1', jobs: [sum] }))
    expect((await cli(['run', '--save', file])).err).toContain('is not one job')
    expect(seen.filter(({ route }) => route.startsWith('POST'))).toHaveLength(3)
  })

  it.each([
    ['succeeded', 0],
    ['failed', 10],
    ['canceled', 11],
    ['stopped', 12],
  ] as const)('--wait ends by how the run ended: %s is %i', async (state, code) => {
    answers['POST /api/v1/runs'] = [201, { id: 7 }]
    const error = state === 'succeeded' ? null : { code: 'EMPTY_FILE', message: 'no rows' }
    answers['GET /api/v1/runs/7'] = [200, run({ state, error })]
    const ended = await cli(['run', 'sum', '--wait'])
    expect(ended.code).toBe(code)
    expect(ended.out).toBe(
      state === 'succeeded' ? 'run 7 succeeded\n{"sum":3}\n' : `run 7 ${state}\nEMPTY_FILE: no rows\n`,
    )
  })

  it('--wait --timeout ends with 13 when the run goes on', async () => {
    answers['POST /api/v1/runs'] = [201, { id: 7 }]
    const why = [{ code: 'NO_WORKER' as const, says: 'no worker is there' }]
    answers['GET /api/v1/runs/7'] = [200, run({ state: 'waiting', why })]
    const plain = await cli(['run', 'sum', '--wait', '--timeout', '0'])
    expect(plain).toMatchObject({ code: 13, out: 'run 7 is still waiting\n' })
    expect(plain.err).toMatch(/^run 7 is waiting, 0 ms: no worker is there\n$/)
    // A terminal gets one line that is rewritten and gone in the end.
    const tty = await cli(['run', 'sum', '--wait', '--timeout', '0'], { tty: true })
    expect(tty.err.split('\r\u001b[K').map((text) => text.slice(0, 16))).toEqual(['', 'run 7 is waiting', ''])
  })

  it('show tells the attempts and why it waits', async () => {
    answers['GET /api/v1/runs/7'] = [
      200,
      run({
        state: 'waiting',
        why: [{ code: 'NO_WORKER_WITH_LABEL', says: 'no worker with label gpu', label: 'gpu' }],
        progress: { percent: 40, note: 'half' },
        attemptHistory: [
          {
            number: 1,
            lease: 99,
            worker: 'w-1',
            startedAt: at,
            endedAt: at,
            outcome: 'failed',
            error: { code: 'X', message: 'y' },
          },
        ],
      }),
    ]
    const { code, out } = await cli(['run', 'show', '7'])
    expect(code).toBe(0)
    expect(out).toContain('waits because  no worker with label gpu (NO_WORKER_WITH_LABEL)')
    expect(out).toContain('2026-11-25 09:30:00Z, 3 s ago')
    expect(out).toMatch(/1 {2}failed {3}w-1 +99 .* X: y/)
  })

  it.each([
    ['cancel', { state: 'canceled', changed: true }, 'run 7 is canceled'],
    ['stop', { state: 'running', changed: true }, 'run 7 was asked to stop'],
    ['retry', { state: 'waiting', changed: false }, 'nothing to retry: run 7 is waiting'],
  ])('%s says what became of it', async (action, answer, says) => {
    answers[`POST /api/v1/runs/7/${action}`] = [200, { id: 7, ...answer }]
    expect(await cli(['run', action, '7'])).toEqual({ code: 0, out: `${says}\n`, err: '' })
  })
})

describe('a run of unknown outcome', () => {
  it('show says who decided, and what to do while nobody has', async () => {
    const why = [{ code: 'OUTCOME_UNKNOWN' as const, says: 'its worker was lost', cause: 'lost' as const }]
    answers['GET /api/v1/runs/7'] = [200, run({ state: 'unknown', guarantee: 'at-most-once', why })]
    const open = (await cli(['run', 'show', '7'])).out
    expect(open).toMatch(/guarantee +at-most-once/)
    expect(open).toContain('its worker was lost (OUTCOME_UNKNOWN)')
    expect(open).not.toContain('decided by')
    answers['GET /api/v1/runs/7'] = [200, run({ decidedBy: 'ada' })]
    expect((await cli(['run', 'show', '7'])).out).toMatch(/decided by +ada/)
  })

  it('that is waited for ends with 14 when the time is over', async () => {
    answers['POST /api/v1/runs'] = [201, { id: 7 }]
    const why = [{ code: 'OUTCOME_UNKNOWN' as const, says: 'its worker was lost' }]
    answers['GET /api/v1/runs/7'] = [200, run({ state: 'unknown', why })]
    const { code, err } = await cli(['run', 'sum', '--wait', '--timeout', '0'])
    expect(code).toBe(14)
    expect(err).toContain('run 7 is unknown, 0 ms: its worker was lost')
  })

  it.each([
    [['--as', 'succeeded', '--result', '{"sum":3}'], { as: 'succeeded', result: { sum: 3 } }, 'run 7 is succeeded'],
    [['--as', 'failed', '--message', 'no mail'], { as: 'failed', message: 'no mail' }, 'run 7 is failed'],
    [['--as', 'retry'], { as: 'retry' }, 'run 7 is waiting'],
  ])('resolve %j sends the decision and says what it led to', async (argv, body, says) => {
    const state = says.split(' ').at(-1)
    answers['POST /api/v1/runs/7/resolve'] = [200, { id: 7, state, changed: true }]
    expect(await cli(['run', 'resolve', '7', ...argv])).toEqual({ code: 0, out: `${says}\n`, err: '' })
    expect(seen[0]?.body).toEqual(body)
    answers['POST /api/v1/runs/7/resolve'] = [200, { id: 7, state, changed: false }]
    expect((await cli(['run', 'resolve', '7', ...argv])).out).toBe(`it was decided before: ${says}\n`)
  })

  it.each([
    [['run', 'resolve', '7']],
    [['run', 'resolve', '7', '--as', 'maybe']],
    [['run', 'resolve', '7', '--as', 'retry', '--result', '1']],
    [['run', 'resolve', '7', '--as', 'succeeded', '--message', 'm']],
    [['run', 'resolve', '7', '--as', 'succeeded', '--result', '{']],
    [['effects', 'resolve', '7', 'mail']],
    [['effects', 'resolve', '7', 'mail', '--done', '--not-done']],
    [['effects', 'resolve', '7', 'mail', '--not-done', '--outcome', '1']],
  ])('%j is wrong usage, and nothing is sent', async (argv) => {
    expect((await cli(argv)).code).toBe(2)
    expect(seen).toEqual([])
  })

  it('has effects that are listed and decided by name', async () => {
    const effect = {
      name: 'mail/ada',
      state: 'unknown',
      startedAt: at,
      endedAt: null,
      lease: 9,
      attempt: 1,
      decidedBy: null,
    }
    const done = { ...effect, name: 'charge', state: 'done', outcome: { id: 3 }, endedAt: at, decidedBy: 'ada' }
    answers['GET /api/v1/runs/7/effects'] = [200, { items: [effect, done], next: 'more' }]
    const { out, err } = await cli(['effects', 'list', '7', '--limit', '2'])
    expect(out).toMatch(/mail\/ada +unknown +1 /)
    expect(out).toMatch(/charge +done .*\{"id":3\} \(says ada\)/)
    expect(err).toContain('there are more')
    const route = 'POST /api/v1/runs/7/effects/mail%2Fada/resolve'
    answers[route] = [200, { name: 'mail/ada', done: true, changed: true }]
    const resolved = await cli(['effects', 'resolve', '7', 'mail/ada', '--done', '--outcome', '{"sent":1}'])
    expect(resolved).toMatchObject({ code: 0, out: 'effect "mail/ada" is recorded as done\n' })
    expect(seen.at(-1)?.body).toEqual({ done: true, outcome: { sent: 1 } })
    answers[route] = [200, { name: 'mail/ada', done: false, changed: true }]
    const again = await cli(['effects', 'resolve', '7', 'mail/ada', '--not-done'])
    expect(again.out).toBe('effect "mail/ada" is to be executed by the next attempt\n')
    expect(seen.at(-1)?.body).toEqual({ done: false })
  })
})

describe('a list', () => {
  const page = {
    items: [run(), run({ id: 6, state: 'failed', error: { code: 'X', message: 'y\u001b[2J' } })],
    next: 'more',
  }

  it('is a table for people and the page of the API for machines', async () => {
    answers['GET /api/v1/runs'] = [200, page]
    const people = await cli(['runs', '--job', 'sum', '--state', 'succeeded,failed', '--limit', '2'])
    expect(people.out.split('\n')[0]).toMatch(/^ID {2}JOB {2}STATE +BY +DUE +TOOK {2}TRIES {2}RESULT$/)
    expect(people.out).not.toContain('\u001b')
    expect(people.err).toContain('there are more')
    expect(seen[0]?.route).toBe('GET /api/v1/runs?job=sum&state=succeeded%2Cfailed&limit=2&app=shop')
    const machine = await cli(['runs', '--json'])
    expect(JSON.parse(machine.out)).toEqual(page)
    expect(machine.err).toBe('')
  })

  it('has colours on a terminal only, is cut to its width, and heeds NO_COLOR', async () => {
    answers['GET /api/v1/runs'] = [200, page]
    const coloured = await cli(['runs'], { tty: true, columns: 60 })
    expect(coloured.out).toContain('\u001b[31mfailed')
    const plain = await cli(['runs'], { tty: true, columns: 60, env: { NO_COLOR: '1' } })
    expect(plain.out).not.toContain('\u001b')
    for (const line of plain.out.split('\n')) expect(line.length).toBeLessThanOrEqual(60)
  })

  it.each([
    [['jobs'], 'GET /api/v1/jobs', 'no jobs'],
    [['runs'], 'GET /api/v1/runs', 'no runs'],
    [['fires', '--outcome', 'missed', '--kind', 'fire'], 'GET /api/v1/fires', 'no fires'],
    [['workers', '--all'], 'GET /api/v1/workers', 'no workers'],
    [['apps'], 'GET /api/v1/apps', 'no apps'],
    [['tokens'], 'GET /api/v1/apps/shop/tokens', 'no tokens'],
  ])('%j that is empty says so, and leaves stdout empty', async (argv, route, says) => {
    answers[route] = [200, { items: [], next: null }]
    const { code, out, err } = await cli(argv)
    expect({ code, out }).toEqual({ code: 0, out: '' })
    expect(err).toContain(says)
  })

  it('of workers, fires, apps and tokens has a line for each', async () => {
    answers['GET /api/v1/workers'] = [
      200,
      {
        items: [
          {
            sessionId: 9,
            name: 'w-1',
            state: 'ended',
            endReason: 'lost',
            running: 0,
            slots: 4,
            processors: ['a', 'b'],
            labels: { zone: 'eu' },
            startedAt: at,
          },
        ],
        next: null,
      },
    ]
    answers['GET /api/v1/fires'] = [
      200,
      {
        items: [
          {
            jobId: 1,
            fireAt: at,
            outcome: 'skipped',
            runId: null,
            covers: 3,
            reason: 'it overlaps run 6',
            subRun: null,
          },
          { jobId: 1, fireAt: at, outcome: 'fired', runId: 6, covers: 1, reason: null, subRun: null },
          ...[
            { number: 12, lease: 7, state: 'running', endedAt: null, result: null },
            { number: 11, lease: 7, state: 'failed', endedAt: at, result: 'TOO_MUCH_INSTANCE' },
          ].map((subRun) => ({ jobId: 1, fireAt: at, outcome: 'fired', runId: 8, covers: 1, reason: null, subRun })),
        ],
        next: null,
      },
    ]
    answers['GET /api/v1/apps'] = [
      200,
      {
        items: [
          {
            name: 'shop',
            namespace: 'default',
            title: null,
            requireRequestKeys: true,
            hasPassword: true,
            powerjob: { tokenless: true, copyEnabled: false, collapse: 'off', tagSubstring: false, workerNetworks: [] },
            createdAt: at,
          },
        ],
        next: null,
      },
    ]
    answers['GET /api/v1/apps/shop/tokens'] = [
      200,
      { items: [{ id: 5, name: 'ci', scope: 'read', createdAt: at, expiresAt: null }], next: null },
    ]
    expect((await cli(['workers'])).out).toMatch(/9 {2}w-1 +ended \(lost\) +0\/4 +a b +zone=eu/)
    const { out: fires } = await cli(['fires'])
    expect(fires).toMatch(/skipped +– +3 +it overlaps run 6/)
    expect(fires).toMatch(/fired +6 +1 +–\n/)
    expect(fires).toMatch(/fired +8 #12 +1 +running\n.*fired +8 #11 +1 +failed: TOO_MUCH_INSTANCE/)
    answers['GET /api/v1/suspected-repeats'] = [
      200,
      { items: [{ jobId: 1, jobName: 'sum', runId: 4, repeatRunId: 5, gapMs: 10, createdAt: at }], examined: 2 },
    ]
    expect((await cli(['resends', '--hours', '3'])).out).toMatch(/sum +4 +5 +10 ms/)
    expect((await cli(['apps'])).out).toMatch(/shop {2}default +required/)
    expect((await cli(['tokens'])).out).toMatch(/5 {2}ci +read .* never/)
  })
})

describe('jobs', () => {
  it('apply sends the file, export prints it, and the two fit', async () => {
    const exported = { format: 'oncejob.jobs/1', jobs: [{ name: 'sum', processor: 'sum' }] }
    answers['GET /api/v1/jobs/export'] = [200, exported]
    answers['POST /api/v1/jobs/import'] = [200, { jobs: [{ id: 1, name: 'sum', outcome: 'unchanged' }] }]
    const file = join(folder, 'jobs.json')
    writeFileSync(file, (await cli(['jobs', 'export', '--tag', 'x'])).out)
    expect(await cli(['jobs', 'apply', file])).toMatchObject({
      code: 0,
      out: 'ID  NAME  OUTCOME\n 1  sum   unchanged\n',
    })
    expect(seen.at(-1)?.body).toEqual(exported)
    writeFileSync(file, '[]')
    expect(await cli(['jobs', 'apply', file])).toMatchObject({ code: 2 })
  })

  it('enable and disable say what the job is now', async () => {
    answers['POST /api/v1/jobs/sum/disable'] = [200, { ...job, enabled: false }]
    expect((await cli(['jobs', 'disable', 'sum'])).out).toBe('job 1 "sum" is disabled\n')
  })

  it('preview asks for the schedule of the job, or for the expression', async () => {
    answers['GET /api/v1/jobs/sum'] = [200, job]
    answers['POST /api/v1/schedules/preview'] = [200, { fires: [at] }]
    expect((await cli(['jobs', 'preview', 'sum'])).out).toBe('2026-11-25 09:30:00Z, 3 s ago\n')
    expect(seen.at(-1)?.body).toEqual({ schedule: job.schedule })
    await cli(['jobs', 'preview', '--cron', '0 9 * * 1', '--zone', 'Europe/Berlin', '--count', '3'])
    expect(seen.at(-1)?.body).toEqual({
      schedule: { trigger: { kind: 'cron', expression: '0 9 * * 1' }, zone: 'Europe/Berlin' },
      count: 3,
    })
  })
})

describe('logs', () => {
  const line = (seq: number, text: string) => ({ seq, at, level: 'info', text, attempt: 1 })

  it('prints all pages, and nothing in them steers the terminal', async () => {
    answers['GET /api/v1/runs/7/logs?limit=500&app=shop'] = [
      200,
      { lines: [line(1, 'one\u001b[2J')], next: 1, complete: false, truncated: false },
    ]
    answers['GET /api/v1/runs/7/logs?limit=500&after=1&app=shop'] = [
      200,
      { lines: [], next: 1, complete: true, truncated: true },
    ]
    const { out, err } = await cli(['logs', '7'])
    expect(out).toBe(`${at} info  one\n`)
    expect(err).toContain('too long')
  })

  it('-f goes on until the run has ended, one JSON object per line', async () => {
    answers['GET /api/v1/runs/7/logs/stream'] = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const seq of [1, 2]) response.write(`event: line\nid: ${seq}\ndata: ${JSON.stringify(line(seq, 'x'))}\n\n`)
      response.end('event: end\ndata: {"state":"succeeded"}\n\n')
    }
    const { code, out } = await cli(['logs', '7', '-f', '--json'])
    expect(code).toBe(0)
    expect(
      out
        .trimEnd()
        .split('\n')
        .map((text): unknown => JSON.parse(text)),
    ).toEqual([line(1, 'x'), line(2, 'x')])
  })
})

describe('the operating commands', () => {
  it('audit ends with 20 when a promise is broken', async () => {
    const finding = { invariant: 'I2', check: 'a fire has one run', violations: 0, examples: [] }
    answers['GET /api/v1/audit'] = [200, { clean: true, findings: [finding] }]
    expect(await cli(['audit'])).toMatchObject({ code: 0, out: expect.stringMatching(/\nclean\n$/) })
    answers['GET /api/v1/audit'] = [
      200,
      { clean: false, findings: [{ ...finding, violations: 2, examples: ['run 7'] }] },
    ]
    expect(await cli(['audit', '--json'])).toMatchObject({ code: 20 })
  })

  it('doctor ends with 21 when something is bad', async () => {
    answers['GET /api/v1/doctor'] = [200, { lines: [{ topic: 'clock', status: 'warn', says: '2 s off' }] }]
    expect(await cli(['doctor'])).toMatchObject({ code: 0, out: expect.stringContaining('2 s off') })
    answers['GET /api/v1/doctor'] = [200, { lines: [{ topic: 'clock', status: 'bad', says: '2 h off' }] }]
    expect(await cli(['doctor'])).toMatchObject({ code: 21 })
  })

  it('apps token prints nothing but the token on stdout', async () => {
    answers['POST /api/v1/apps/shop/tokens'] = [201, { id: 5, name: 'ci', app: 'shop', scope: 'read', token: 'oj_abc' }]
    const { out, err } = await cli(['apps', 'token', 'shop', '--name', 'ci', '--scope', 'read'])
    expect(out).toBe('oj_abc\n')
    expect(err).toContain('only this once')
    expect(seen[0]?.body).toEqual({ name: 'ci', scope: 'read' })
  })

  it('apps create makes an app that demands request keys when told to', async () => {
    answers['POST /api/v1/apps'] = [201, { name: 'shop', namespace: 'default', requireRequestKeys: true }]
    await cli(['apps', 'create', 'shop', '--require-keys'])
    await cli(['apps', 'create', 'shop'])
    expect(seen.map(({ body }) => body)).toEqual([{ name: 'shop', requireRequestKeys: true }, { name: 'shop' }])
  })

  it('apps create and apps set say how PowerJob clients authenticate, and set what was named only', async () => {
    answers['POST /api/v1/apps'] = [201, { name: 'shop', namespace: 'default' }]
    answers['PATCH /api/v1/apps/shop'] = [200, { name: 'shop' }]
    await cli(['apps', 'create', 'shop', '--password', 'pw', '--tokenless', 'on'])
    await cli(['apps', 'set', 'shop', '--copy-enabled', 'off', '--collapse', 'off', '--keys', 'optional'])
    await cli(['apps', 'set', 'shop', '--no-password'])
    const { out } = await cli(['apps', 'set', 'shop', '--password', 'secret-word'])
    expect(out).toBe('app shop was changed\n')
    expect(seen.map(({ body }) => body)).toEqual([
      { name: 'shop', password: 'pw', powerjob: { tokenless: true } },
      { requireRequestKeys: false, powerjob: { copyEnabled: false, collapse: 'off' } },
      { password: null },
      { password: 'secret-word' },
    ])
    expect((await cli(['apps', 'set', 'shop'])).code).toBe(exitCodes.usage.code)
    expect((await cli(['apps', 'set', 'shop', '--tokenless', 'yes'])).code).toBe(exitCodes.usage.code)
    expect((await cli(['apps', 'set', 'shop', '--password', 'x', '--no-password'])).code).toBe(exitCodes.usage.code)
  })

  it('apps set names the networks of Java workers, and takes them back', async () => {
    answers['PATCH /api/v1/apps/shop'] = [200, { name: 'shop' }]
    await cli(['apps', 'set', 'shop', '--worker-networks', '10.1.0.0/16, worker-7'])
    await cli(['apps', 'set', 'shop', '--worker-networks', 'none'])
    expect(seen.map(({ body }) => body)).toEqual([
      { powerjob: { workerNetworks: ['10.1.0.0/16', 'worker-7'] } },
      { powerjob: { workerNetworks: [] } },
    ])
  })

  it('containers upload sends the bytes of the file under its name, and deploy tells how many workers hear of it', async () => {
    const container = {
      id: 3,
      name: 'demo',
      version: 'f'.repeat(32),
      sha256: 'a',
      size: 5,
      createdAt: at,
      updatedAt: at,
      deployedAt: null,
    }
    answers['POST /api/v1/containers'] = [201, container]
    answers['POST /api/v1/containers/3/deploy'] = [
      202,
      { id: 3, version: container.version, workers: ['10.0.0.7:27777'] },
    ]
    const file = join(folder, 'demo.jar')
    writeFileSync(file, 'PK\u0003\u0004x')
    expect(await cli(['containers', 'upload', file, '--deploy'])).toMatchObject({
      code: 0,
      out: `container 3 "demo" has version ${container.version}\n1 workers are told to load it\n`,
    })
    expect(seen[0]).toMatchObject({
      route: 'POST /api/v1/containers?name=demo&app=shop',
      body: 'PK\u0003\u0004x',
      headers: { 'content-type': 'application/java-archive', 'idempotency-key': expect.any(String) },
    })
    expect(seen[1]?.route).toBe('POST /api/v1/containers/3/deploy?app=shop')
    expect((await cli(['containers', 'upload', join(folder, 'none.jar')])).code).toBe(exitCodes.usage.code)
    answers['GET /api/v1/containers'] = [200, { items: [container], next: null }]
    answers['GET /api/v1/containers/3'] = [
      200,
      { ...container, workers: [{ address: '10.0.0.7:27777', state: 'outdated', version: '0', loadedAt: at }] },
    ]
    answers['DELETE /api/v1/containers/3'] = (response) => void response.writeHead(204).end()
    expect((await cli(['containers'])).out).toMatch(/3 {2}demo +f{32} +5/)
    expect((await cli(['containers', 'show', '3'])).out).toMatch(/10\.0\.0\.7:27777 +outdated +0/)
    expect((await cli(['containers', 'deploy', '3'])).out).toContain('1 workers are told')
    expect((await cli(['containers', 'delete', '3'])).out).toBe('container 3 was deleted\n')
  })

  it('run show asks the Java worker of a run, when it has one', async () => {
    const detail = {
      runId: 7,
      source: 'live',
      says: null,
      worker: '10.0.0.7:27777',
      startedAt: at,
      tasks: { total: 9, succeeded: 4, failed: 1 },
      taskList: [
        {
          id: '0',
          name: 'OMS_ROOT_TASK',
          state: 'failed',
          worker: null,
          failures: 1,
          content: null,
          result: 'boom',
          createdAt: at,
          changedAt: at,
        },
      ],
      subRuns: [{ number: 12, state: 'running', startedAt: at, endedAt: null, result: null }],
    }
    answers['GET /api/v1/runs/7'] = [200, run({ worker: '10.0.0.7:27777' })]
    answers['GET /api/v1/runs/7/powerjob'] = [200, detail]
    const { out } = await cli(['run', 'show', '7'])
    expect(out).toContain('total 9, succeeded 4, failed 1')
    expect(out).toMatch(/OMS_ROOT_TASK +failed/)
    expect(out).toMatch(/12 {2}running/)
    answers['GET /api/v1/runs/7/powerjob'] = refusal(404, 'RUN_NOT_FOUND')
    expect(await cli(['run', 'show', '7'])).toMatchObject({ code: 0, out: expect.not.stringContaining('java worker') })
  })

  it('apps token whose secret was lost says how to take the token back', async () => {
    answers['POST /api/v1/apps/shop/tokens'] = [201, { id: 5, name: 'ci', app: 'shop', scope: 'app', token: null }]
    const { code, out, err } = await cli(['apps', 'token', 'shop'])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain('\nhint: oncejob tokens revoke 5 --app shop\n')
  })

  it('tokens revoke takes one back', async () => {
    answers['DELETE /api/v1/apps/shop/tokens/5'] = (response) => void response.writeHead(204).end()
    expect(await cli(['tokens', 'revoke', '5'])).toMatchObject({ code: 0, out: 'token 5 is revoked\n' })
  })

  it('version is the one of the package', async () => {
    const { out } = await cli(['version'])
    expect(out).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect((await cli(['--version'])).out).toBe(out)
  })
})

describe('the process', () => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url))
  const env = () => ({ ...process.env, ONCEJOB_URL: url, ONCEJOB_TOKEN: 'secret', ONCEJOB_APP: 'shop' })

  it('ends with the exit code of its command', async () => {
    const code = await new Promise((resolve) => {
      execFile(process.execPath, [main, 'run', 'show'], { env: env() }, (error) => resolve(error?.code))
    })
    expect(code).toBe(2)
  })

  it('ends quietly when the reader of its output has left', async () => {
    const items = Array.from({ length: 500 }, (_, i) => run({ id: i + 1, params: 'x'.repeat(2000) }))
    answers['GET /api/v1/runs'] = [200, { items, next: null }]
    const child = spawn(process.execPath, [main, 'runs', '--json'], { env: env(), stdio: ['ignore', 'pipe', 'pipe'] })
    let err = ''
    child.stderr.on('data', (text: Buffer) => (err += text.toString()))
    // The first bytes are read, and the pipe is closed with a megabyte still to come.
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect({ code, err }).toEqual({ code: 0, err: '' })
  })
})
