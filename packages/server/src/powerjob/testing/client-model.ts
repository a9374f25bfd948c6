// A model of 5.x clients on one network path, driven by a scheduler that takes any thread at any time.
import type { judge } from '../resend/first-use.ts'
import { emptyPath, pathMachine, type PathEvent } from './path-machine.ts'

export interface ModelSetup {
  /** Client objects on the path, and threads that share each. */
  readonly clients: number
  readonly threads: number
  readonly callsPerThread: number
  readonly bodies: number
  /** What becomes of our header on the way to the clients: per client when several are given. */
  readonly header: readonly ('seen' | 'lost')[]
  /** Of requests with a token that was used before: it is rejected. */
  readonly expiry?: number
  /** Of executions: refused, or broken. */
  readonly refusals?: number
  readonly breaks?: number
  /** Each call by a client object of its own. */
  readonly clientPerCall?: boolean
  /** Longest time between two steps, in ms. */
  readonly stepMs?: number
}

export interface ModelResult {
  readonly calls: number
  readonly succeeded: number
  readonly executed: number
  readonly collapsed: number
  /** Bodies executed less often than calls with them succeeded (N1 is broken). */
  readonly lost: number
  /** Bodies not executed exactly as often as calls with them succeeded. */
  readonly inexact: number
}

interface Client {
  token: string
  readonly sees: boolean
}

/** Numbers in [0, 1); fast, since a history takes some hundred. */
export const quickRandom = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Plays one history. The server's part is the machine of the first-use rule, with the judgement given. */
export const playHistory = (setup: ModelSetup, seed: number, by?: typeof judge): ModelResult => {
  const random = quickRandom(seed)
  const step = pathMachine(by)
  const counts = { calls: 0, succeeded: 0, executed: 0, collapsed: 0 }
  const executed = new Map<string, number>()
  const succeeded = new Map<string, number>()
  const called = new Map<string, number>()
  const bump = (map: Map<string, number>, body: string): unknown => map.set(body, (map.get(body) ?? 0) + 1)
  const issuedAt = new Map<string, number>()
  const used = new Set<string>()
  let state = emptyPath
  let nowMs = 0
  let ids = 0
  let tokens = 0

  const tell = (event: PathEvent) => {
    const next = step(state, event, nowMs)
    state = next.state
    return next.decision
  }
  const issue = (): string => {
    const jti = `t${(tokens += 1)}`
    issuedAt.set(jti, nowMs)
    return jti
  }
  // the constructor uses its token on /authApp
  const newClient = (index: number): Client => {
    const token = issue()
    used.add(token)
    return { token, sees: setup.header[index % setup.header.length] === 'seen' }
  }

  /** One request; each yield is a moment at which any other thread may go on. */
  function* request(client: Client, body: string): Generator<undefined, 'rejected' | 'done' | 'failed'> {
    const { token } = client
    yield
    // a token that was just issued is not rejected
    if (used.has(token) && random() < (setup.expiry ?? 0)) {
      tell({ kind: 'rejected', fingerprint: body })
      yield
      return 'rejected'
    }
    const first = !used.has(token)
    used.add(token)
    const id = (ids += 1)
    const use = { fingerprint: body, jti: token, issuedAtMs: issuedAt.get(token) ?? 0 }
    const decision = tell({ kind: 'called', id, first, use })
    if (decision?.kind === 'collapse') {
      counts.collapsed += 1
      yield
      return 'done'
    }
    yield
    const fate = random()
    const refusals = setup.refusals ?? 0
    if (fate < refusals + (setup.breaks ?? 0)) {
      tell({ kind: 'failed', id, how: fate < refusals ? 'refused' : 'broken' })
      yield
      return 'failed'
    }
    bump(executed, body)
    counts.executed += 1
    tell({ kind: 'done', id })
    yield
    return 'done'
  }
  function* call(client: Client, body: string): Generator<undefined, void> {
    counts.calls += 1
    bump(called, body)
    let outcome = yield* request(client, body)
    if (outcome === 'rejected' || !client.sees) {
      yield
      client.token = issue()
      yield
      outcome = yield* request(client, body)
    }
    if (outcome !== 'done') return
    counts.succeeded += 1
    bump(succeeded, body)
  }
  function* thread(index: number, shared: Client): Generator<undefined, void> {
    for (let done = 0; done < setup.callsPerThread; done += 1) {
      const body = `x${Math.floor(random() * setup.bodies)}`
      yield* call(setup.clientPerCall === true ? newClient(index) : shared, body)
    }
  }

  const running: Generator<undefined, void>[] = []
  for (let index = 0; index < setup.clients; index += 1) {
    const client = newClient(index)
    for (let of = 0; of < setup.threads; of += 1) running.push(thread(index, client))
  }
  while (running.length > 0) {
    const at = Math.floor(random() * running.length)
    nowMs += random() * (setup.stepMs ?? 1)
    if (running[at]?.next().done === true) running.splice(at, 1)
  }
  const bodies = [...called.keys()]
  return {
    ...counts,
    lost: bodies.filter((body) => (executed.get(body) ?? 0) < (succeeded.get(body) ?? 0)).length,
    inexact: bodies.filter((body) => (executed.get(body) ?? 0) !== (succeeded.get(body) ?? 0)).length,
  }
}
