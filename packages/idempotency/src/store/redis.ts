// Records in Redis: scripts arbitrate on one primary. A fail-over may lose the last claims: see the guide's failure table.
import type { RedisScript } from './redis-scripts.ts'
import * as scripts from './redis-scripts.ts'
import type { Answer, ClaimOutcome, ClaimRequest, IssueOutcome, IssueRequest, RecordKey, Store } from './store.ts'
import { rateWindowMs } from './store.ts'

/** A Redis or Cluster of `ioredis`. */
export interface RedisClient {
  evalsha(sha1: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>
}

export interface RedisStoreOptions {
  readonly redis: RedisClient
  /** Begins every key; default `once`. */
  readonly prefix?: string
  /** For tests: milliseconds since 1970 instead of Redis' clock. */
  readonly now?: () => number
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

// Redis hands texts on as UTF-8; bytes survive as base64 only.
const encodeAnswer = (answer: Answer | undefined): string =>
  answer === undefined
    ? ''
    : JSON.stringify([answer.status, answer.headers, Buffer.from(answer.body).toString('base64')])

const decodeAnswer = (text: string): Answer | undefined => {
  if (text === '') return undefined
  const parsed: unknown = JSON.parse(text)
  if (!Array.isArray(parsed)) return undefined
  const [status, headers, body]: unknown[] = parsed
  return {
    status: Number(status),
    headers: isRecord(headers)
      ? Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
      : {},
    body: Buffer.from(String(body), 'base64'),
  }
}

const orUndefined = (text: string | undefined): string | undefined => (text === '' ? undefined : text)
const statusOf = (text: string | undefined): number | undefined =>
  text === undefined || text === '' ? undefined : Number(text)

class RedisStore implements Store {
  readonly name = 'redis'
  readonly #redis: RedisClient
  readonly #prefix: string
  readonly #clock: (() => number) | undefined

  constructor({ redis, prefix, now }: RedisStoreOptions) {
    this.#redis = redis
    this.#prefix = prefix ?? 'once'
    this.#clock = now
  }

  async issue({ key, bind, ttlMs, limits }: IssueRequest): Promise<IssueOutcome> {
    const [kind, first, second] = await this.#run(
      scripts.issueScript,
      [this.#record(key), this.#ofScope(key, 'recent'), this.#ofScope(key, 'unused')],
      [bind, String(ttlMs), String(limits.perMinute), String(limits.outstanding), String(rateWindowMs), key.id],
    )
    if (kind === 'issued') return { kind, expiresAtMs: Number(first) }
    if (kind !== 'limited') return { kind: 'exists' }
    return { kind, limit: first === 'perMinute' ? 'perMinute' : 'outstanding', retryAfterMs: Number(second) }
  }

  async claim(request: ClaimRequest): Promise<ClaimOutcome> {
    const { key, createTtlMs } = request
    const [kind, ...rest] = await this.#run(
      scripts.claimScript,
      [this.#record(key), this.#ofScope(key, 'unused')],
      [
        request.bind,
        request.owner,
        request.fingerprint,
        String(request.leaseMs),
        request.takeOver ? '1' : '0',
        createTtlMs === undefined ? '' : String(createTtlMs),
        request.to,
        request.requestId ?? '',
        key.id,
      ],
    )
    if (kind === 'claimed') return { kind, expiresAtMs: Number(rest[0]), takenOver: rest[1] === '1' }
    if (kind === 'absent' || kind === 'expired' || kind === 'mismatch') return { kind }
    const [requestId, fingerprint, endsMs, status, answer] = rest
    const first = {
      requestId: orUndefined(requestId),
      fingerprint: fingerprint ?? '',
      expiresAtMs: Number(endsMs),
    }
    if (kind === 'busy' || kind === 'reused') return { kind, ...first }
    if (kind === 'done') return { kind, status: statusOf(status), answer: decodeAnswer(answer ?? ''), ...first }
    throw new Error(`the claim script answered ${String(kind)}`)
  }

  async complete({ key, owner, status, answer, ttlMs }: Parameters<Store['complete']>[0]): Promise<'done' | 'stale'> {
    const [kind] = await this.#run(
      scripts.completeScript,
      [this.#record(key)],
      [owner, String(status), encodeAnswer(answer), String(ttlMs)],
    )
    return kind === 'done' ? 'done' : 'stale'
  }

  async release({ key, owner }: Parameters<Store['release']>[0]): Promise<'released' | 'stale'> {
    const keys = [this.#record(key), this.#ofScope(key, 'unused')]
    const [kind] = await this.#run(scripts.releaseScript, keys, [owner, key.id])
    return kind === 'released' ? 'released' : 'stale'
  }

  async extend({ key, owner, leaseMs }: Parameters<Store['extend']>[0]): Promise<'extended' | 'stale'> {
    const [kind] = await this.#run(scripts.extendScript, [this.#record(key)], [owner, String(leaseMs)])
    return kind === 'extended' ? 'extended' : 'stale'
  }

  async read(key: RecordKey): ReturnType<Store['read']> {
    const [state, endsMs, requestId, status, answer] = await this.#run(scripts.readScript, [this.#record(key)], [])
    if (state !== 'new' && state !== 'claimed' && state !== 'done') return undefined
    return {
      state,
      status: statusOf(status),
      answer: decodeAnswer(answer ?? ''),
      requestId: orUndefined(requestId),
      expiresAtMs: Number(endsMs),
    }
  }

  /** Redis removes expired keys by itself. */
  sweep(): Promise<number> {
    return Promise.resolve(0)
  }

  // The braces keep all keys of an account in one slot of a cluster.
  #record({ scope, id }: RecordKey): string {
    return `${this.#prefix}:{${scope}}:${id}`
  }

  #ofScope({ scope }: RecordKey, what: 'recent' | 'unused'): string {
    return `${this.#prefix}:{${scope}}#${what}`
  }

  async #run({ text, sha1 }: RedisScript, keys: string[], values: string[]): Promise<string[]> {
    const all = [...keys, this.#clock === undefined ? '' : String(this.#clock()), ...values]
    let reply: unknown
    try {
      reply = await this.#redis.evalsha(sha1, keys.length, ...all)
    } catch (error) {
      // A server that restarted or a new primary does not have the script yet; nothing was executed.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      reply = await this.#redis.eval(text, keys.length, ...all)
    }
    return Array.isArray(reply) ? reply.map(String) : []
  }
}

/** A store in Redis 6 or later, through `ioredis`; clusters too. */
export const createRedisStore = (options: RedisStoreOptions): Store => new RedisStore(options)
