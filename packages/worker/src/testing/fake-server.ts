// A server for tests of the worker (no part of its API): real HTTP, the rules of the protocol in a few lines, and faults on demand.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Assignment, PollInput, Report, SessionInput, StopOrder, WorkerLogInput } from '@oncejob/protocol'

/** What a test may answer in the server's place; `hang-up` closes the connection without a word. */
export type Interception = { readonly status: number; readonly body: unknown } | 'hang-up' | undefined

export interface Call {
  readonly method: string
  readonly path: string
  readonly body: unknown
}

/** A row of the ledger, as the server keeps it. */
interface Effect {
  lease: number
  done: boolean
  outcome?: unknown
}

interface EffectCall {
  readonly runId: number
  readonly lease: number
  readonly name: string
  readonly outcome?: unknown
}

type Answer = 'accepted' | 'duplicate' | 'lost' | 'unknown'

interface WaitingPoll {
  readonly session: number
  readonly input: PollInput
  readonly response: ServerResponse
  readonly timer: NodeJS.Timeout
}

const readBody = async (request: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) if (chunk instanceof Buffer) chunks.push(chunk)
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'))
}

const send = (response: ServerResponse, status: number, body: unknown): void => {
  const text = body === undefined ? '' : JSON.stringify(body)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

export class FakeServer {
  leaseMs = 10_000
  pollMs = 3000
  maxResultBytes = 1_048_576
  /** While true every connection is hung up. */
  down = false
  /** Looks at each call before the server does. */
  intercept: (call: Call) => Interception = () => undefined
  /** True: the next answer that brings runs does not reach the worker. */
  loseNextHandOver = false
  readonly calls: Call[] = []
  readonly sessions: SessionInput[] = []
  readonly polls: PollInput[] = []
  readonly reports: Report[] = []
  readonly accepted: Report[] = []
  readonly logs: WorkerLogInput['entries'] = []
  readonly left: number[] = []
  /** The ledger, by `run/name`. */
  readonly effects = new Map<string, Effect>()
  session = 0
  keep = true
  #server: Server
  #port = 0
  #nextId = 1
  #ready: Assignment[] = []
  readonly #stops: StopOrder[] = []
  /** Handed over and not reported. */
  readonly #out = new Map<number, Assignment>()
  readonly #done = new Set<number>()
  readonly #taken = new Set<number>()
  #waiting: WaitingPoll | undefined

  private constructor() {
    this.#server = createServer((request, response) => {
      void this.#handle(request, response)
    })
  }

  static async start(): Promise<FakeServer> {
    const fake = new FakeServer()
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve))
    const address = fake.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the fake server has no port')
    fake.#port = address.port
    return fake
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** True while a poll of the worker is open. */
  get isPolled(): boolean {
    return this.#waiting !== undefined
  }

  async close(): Promise<void> {
    clearTimeout(this.#waiting?.timer)
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** Makes a run ready; it goes out with the next poll that has room. */
  add(fields: Partial<Assignment> = {}): Assignment {
    const id = this.#nextId++
    const time = '2026-01-01T00:00:00.000Z'
    const run: Assignment = {
      runId: id,
      lease: 1000 + id,
      attempt: 1,
      jobId: 7,
      job: 'the job',
      processor: 'work',
      jobParams: null,
      params: null,
      fireAt: null,
      createdAt: time,
      dueAt: time,
      priority: 0,
      timeoutMs: null,
      idempotencyKey: `run-${id}`,
      logLevel: 'info',
      guarantee: 'at-least-once',
      ...fields,
    }
    this.#ready.push(run)
    this.#answerWaiting()
    return run
  }

  /** Hands a run over again, as a confused or another server might. */
  repeat(run: Assignment): void {
    this.#ready.push(run)
    this.#answerWaiting()
  }

  /** Takes a run back without a word. */
  takeBack(run: Assignment): void {
    this.#out.delete(run.lease)
    this.#taken.add(run.lease)
  }

  /** Gives an order about a run that is out; `lost` also takes it back. */
  order(run: Assignment, reason: StopOrder['reason']): void {
    if (reason === 'lost') this.takeBack(run)
    this.#stops.push({ runId: run.runId, lease: run.lease, reason })
    this.#answerWaiting()
  }

  /** Hangs up every connection, now and until `down` is false again. */
  hangUp(): void {
    this.down = true
    this.#server.closeAllConnections()
  }

  /** Ends the session: its next poll is answered 410, a waiting one at once. */
  endSession(): void {
    this.session = 0
    const waiting = this.#waiting
    if (waiting !== undefined) this.#refuse(waiting)
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.down) return void request.socket.destroy()
    const path = (request.url ?? '').replace('/api/v1/worker', '')
    const call: Call = { method: request.method ?? '', path, body: await readBody(request) }
    if (this.keep) this.calls.push(call)
    const instead = this.intercept(call)
    if (instead === 'hang-up') return void request.socket.destroy()
    if (instead !== undefined) return send(response, instead.status, instead.body)
    this.#route(call, response)
  }

  #route(call: Call, response: ServerResponse): void {
    const path = call.path.replace(/\?.*/, '')
    if (path === '/sessions') return this.#open(call.body as SessionInput, response)
    if (path === '/reports') return this.#report((call.body as { reports: Report[] }).reports, response)
    if (path === '/logs') {
      const { entries } = call.body as WorkerLogInput
      this.logs.push(...entries)
      return send(response, 202, { accepted: entries.length })
    }
    if (path.startsWith('/effects/')) return this.#effect(path, call.body as EffectCall, response)
    const session = Number(/^\/sessions\/(\d+)/.exec(path)?.[1])
    if (call.method === 'DELETE') {
      this.left.push(session)
      return send(response, 204, undefined)
    }
    this.#poll(session, call.body as PollInput, response)
  }

  #effect(path: string, { runId, lease, name, outcome }: EffectCall, response: ServerResponse): void {
    if (!this.#out.has(lease))
      return send(response, 409, { code: 'LEASE_LOST', detail: 'another attempt has the run', status: 409 })
    const key = `${runId}/${name}`
    const found = this.effects.get(key)
    if (path === '/effects/begin') {
      if (found === undefined) this.effects.set(key, { lease, done: false })
      const state = found?.done === true ? 'done' : found === undefined || found.lease === lease ? 'new' : 'unknown'
      return send(response, 200, state === 'done' ? { state, outcome: found?.outcome } : { state })
    }
    if (found === undefined)
      return send(response, 409, { code: 'EFFECT_NOT_BEGUN', detail: 'begin it first', status: 409 })
    if (!found.done) this.effects.set(key, { lease, done: true, outcome })
    send(response, 200, { outcome: this.effects.get(key)?.outcome })
  }

  #open(input: SessionInput, response: ServerResponse): void {
    this.sessions.push(input)
    this.session = this.#nextId++
    const { leaseMs, pollMs, maxResultBytes } = this
    send(response, 201, { sessionId: this.session, leaseMs, graceMs: 5000, pollMs, maxResultBytes })
  }

  #poll(session: number, input: PollInput, response: ServerResponse): void {
    if (this.keep) this.polls.push(input)
    const timer = setTimeout(() => this.#give(true), this.pollMs)
    const waiting = { session, input, response, timer }
    if (this.#waiting !== undefined) clearTimeout(this.#waiting.timer)
    this.#waiting = waiting
    response.on('close', () => {
      if (this.#waiting !== waiting) return
      clearTimeout(timer)
      this.#waiting = undefined
    })
    if (session !== this.session) return this.#refuse(waiting)
    // What is out and not named did not arrive.
    const held = new Set(input.held.map(({ lease }) => lease))
    const missing = [...this.#out.values()].filter(({ lease }) => !held.has(lease))
    for (const run of missing) this.#out.delete(run.lease)
    this.#ready = [...missing, ...this.#ready]
    this.#give(input.waitMs === 0)
  }

  #refuse(waiting: WaitingPoll): void {
    clearTimeout(waiting.timer)
    this.#waiting = undefined
    send(waiting.response, 410, { code: 'SESSION_ENDED', detail: 'the session has ended', status: 410 })
  }

  #answerWaiting(): void {
    if (this.#waiting !== undefined) this.#give(false)
  }

  #give(evenNothing: boolean): void {
    const waiting = this.#waiting
    if (waiting === undefined) return
    const runs = this.#ready.splice(0, waiting.input.free)
    const stops = this.#stops.splice(0)
    if (runs.length === 0 && stops.length === 0 && !evenNothing) return
    for (const run of runs) this.#out.set(run.lease, run)
    clearTimeout(waiting.timer)
    this.#waiting = undefined
    if (runs.length > 0 && this.loseNextHandOver) {
      this.loseNextHandOver = false
      return void waiting.response.destroy()
    }
    send(waiting.response, 200, { runs, stops })
  }

  #report(reports: readonly Report[], response: ServerResponse): void {
    if (this.keep) this.reports.push(...reports)
    const answers = reports.map((report) => {
      const { runId, lease } = report
      const answer = this.#judge(lease)
      if (answer === 'accepted') {
        this.#out.delete(lease)
        this.#done.add(lease)
        this.accepted.push(report)
      }
      return { runId, lease, answer }
    })
    send(response, 200, { answers })
  }

  #judge(lease: number): Answer {
    if (this.#done.has(lease)) return 'duplicate'
    if (this.#out.has(lease)) return 'accepted'
    return this.#taken.has(lease) ? 'lost' : 'unknown'
  }
}
