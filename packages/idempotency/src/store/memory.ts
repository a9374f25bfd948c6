// Records in a Map: atomic because one process runs one thing at a time. For tests and single-process apps.
import cluster from 'node:cluster'
import type {
  Answer,
  ClaimOutcome,
  ClaimRequest,
  FirstUse,
  IssueOutcome,
  IssueRequest,
  RecordKey,
  Store,
} from './store.ts'
import { rateWindowMs } from './store.ts'

export interface MemoryStoreOptions {
  /** Set it when this really is the only process: a second one would have records of its own. */
  readonly allowInProduction?: boolean
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

interface MemoryRecord {
  readonly issued: boolean
  readonly bind: string
  state: 'new' | 'claimed' | 'done'
  owner: string | undefined
  leaseUntilMs: number
  fingerprint: string
  status: number | undefined
  answer: Answer | undefined
  requestId: string | undefined
  expiresAtMs: number
}

const sweepEveryMs = 30_000

const refuseWhereRecordsWouldSplit = (): void => {
  if (cluster.isWorker || process.env['NODE_ENV'] === 'production') {
    throw new Error(
      'the memory store knows only its own process: use PostgreSQL or Redis, or set allowInProduction when there is one process',
    )
  }
}

const firstUse = (record: MemoryRecord): FirstUse => ({
  requestId: record.requestId,
  fingerprint: record.fingerprint,
  expiresAtMs: record.expiresAtMs,
})

class MemoryStore implements Store {
  readonly name = 'memory'
  readonly #now: () => number
  readonly #records = new Map<string, MemoryRecord>()
  /** By account: when its tokens were issued, and which are unused. */
  readonly #issuedAtMs = new Map<string, number[]>()
  readonly #unused = new Map<string, Set<string>>()
  #sweepAtMs = 0

  constructor(now: () => number) {
    this.#now = now
  }

  issue({ key, bind, ttlMs, limits }: IssueRequest): Promise<IssueOutcome> {
    const now = this.#tick()
    if (this.#records.has(name(key))) return Promise.resolve({ kind: 'exists' })
    const recent = (this.#issuedAtMs.get(key.scope) ?? []).filter((atMs) => atMs > now - rateWindowMs)
    const oldest = recent[0]
    if (oldest !== undefined && recent.length >= limits.perMinute) {
      return Promise.resolve({ kind: 'limited', limit: 'perMinute', retryAfterMs: oldest + rateWindowMs - now })
    }
    const unused = this.#unusedOf(key.scope, now)
    if (unused.size >= limits.outstanding) {
      const ends = [...unused].map((id) => this.#records.get(id)?.expiresAtMs ?? now)
      return Promise.resolve({ kind: 'limited', limit: 'outstanding', retryAfterMs: Math.min(...ends) - now })
    }
    const record = fresh(bind, now + ttlMs, true)
    this.#records.set(name(key), record)
    this.#issuedAtMs.set(key.scope, [...recent, now])
    unused.add(name(key))
    this.#unused.set(key.scope, unused)
    return Promise.resolve({ kind: 'issued', expiresAtMs: record.expiresAtMs })
  }

  claim(request: ClaimRequest): Promise<ClaimOutcome> {
    return Promise.resolve(this.#claim(request))
  }

  #claim(request: ClaimRequest): ClaimOutcome {
    const now = this.#tick()
    const found = this.#records.get(name(request.key))
    const creates = request.createTtlMs !== undefined && (found === undefined || found.expiresAtMs <= now)
    const record = creates ? fresh(request.bind, now + (request.createTtlMs ?? 0), false) : found
    if (record === undefined) return { kind: 'absent' }
    if (record.bind !== request.bind) return { kind: 'mismatch' }
    if (record.expiresAtMs <= now) return { kind: 'expired' }
    if (record.state !== 'new' && record.fingerprint !== request.fingerprint) {
      return { kind: 'reused', ...firstUse(record) }
    }
    if (record.state === 'done') {
      return { kind: 'done', status: record.status, answer: record.answer, ...firstUse(record) }
    }
    const takenOver = record.state === 'claimed'
    if (takenOver && !(request.takeOver && record.leaseUntilMs <= now)) return { kind: 'busy', ...firstUse(record) }
    record.state = request.to
    record.owner = request.owner
    record.leaseUntilMs = now + request.leaseMs
    record.fingerprint = request.fingerprint
    record.requestId = request.requestId
    this.#records.set(name(request.key), record)
    this.#unused.get(request.key.scope)?.delete(name(request.key))
    return { kind: 'claimed', expiresAtMs: record.expiresAtMs, takenOver }
  }

  complete({ key, owner, status, answer, ttlMs }: Parameters<Store['complete']>[0]): Promise<'done' | 'stale'> {
    const now = this.#tick()
    const record = this.#owned(key, owner)
    if (record === undefined) return Promise.resolve('stale')
    record.state = 'done'
    record.status = status
    record.answer = answer
    record.expiresAtMs = Math.max(record.expiresAtMs, now + ttlMs)
    return Promise.resolve('done')
  }

  release({ key, owner }: Parameters<Store['release']>[0]): Promise<'released' | 'stale'> {
    this.#tick()
    const record = this.#owned(key, owner)
    if (record === undefined) return Promise.resolve('stale')
    if (!record.issued) this.#records.delete(name(key))
    else {
      record.state = 'new'
      record.owner = undefined
      this.#unused.get(key.scope)?.add(name(key))
    }
    return Promise.resolve('released')
  }

  extend({ key, owner, leaseMs }: Parameters<Store['extend']>[0]): Promise<'extended' | 'stale'> {
    const now = this.#tick()
    const record = this.#owned(key, owner)
    if (record !== undefined) record.leaseUntilMs = now + leaseMs
    return Promise.resolve(record === undefined ? 'stale' : 'extended')
  }

  read(key: RecordKey): ReturnType<Store['read']> {
    const now = this.#tick()
    const record = this.#records.get(name(key))
    if (record === undefined || record.expiresAtMs <= now) return Promise.resolve(undefined)
    const { state, status, answer, requestId, expiresAtMs } = record
    return Promise.resolve({ state, status, answer, requestId, expiresAtMs })
  }

  sweep(): Promise<number> {
    const now = this.#now()
    let removed = 0
    for (const [id, record] of this.#records) {
      const atWork = record.state === 'claimed' && record.leaseUntilMs > now
      if (record.expiresAtMs > now || atWork) continue
      this.#records.delete(id)
      removed += 1
    }
    for (const scope of this.#unused.keys()) if (this.#unusedOf(scope, now).size === 0) this.#unused.delete(scope)
    for (const [scope, times] of this.#issuedAtMs) {
      if (times.every((atMs) => atMs <= now - rateWindowMs)) this.#issuedAtMs.delete(scope)
    }
    return Promise.resolve(removed)
  }

  #owned(key: RecordKey, owner: string): MemoryRecord | undefined {
    const record = this.#records.get(name(key))
    return record?.state === 'claimed' && record.owner === owner ? record : undefined
  }

  #unusedOf(scope: string, now: number): Set<string> {
    const unused = this.#unused.get(scope) ?? new Set<string>()
    for (const id of unused) if ((this.#records.get(id)?.expiresAtMs ?? 0) <= now) unused.delete(id)
    return unused
  }

  /** The time; now and then it also throws away what has expired, so that memory stays bounded. */
  #tick(): number {
    const now = this.#now()
    if (now >= this.#sweepAtMs) {
      this.#sweepAtMs = now + sweepEveryMs
      void this.sweep()
    }
    return now
  }
}

const name = ({ scope, id }: RecordKey): string => `${scope}:${id}`

const fresh = (bind: string, expiresAtMs: number, issued: boolean): MemoryRecord => ({
  issued,
  bind,
  state: 'new',
  owner: undefined,
  leaseUntilMs: 0,
  fingerprint: '',
  status: undefined,
  answer: undefined,
  requestId: undefined,
  expiresAtMs,
})

/**
 * A store in the memory of this process.
 *
 * @throws Error under NODE_ENV=production and in workers of node:cluster, unless `allowInProduction` is set
 */
export const createMemoryStore = (options: MemoryStoreOptions = {}): Store => {
  if (options.allowInProduction !== true) refuseWhereRecordsWouldSplit()
  return new MemoryStore(options.now ?? Date.now)
}
