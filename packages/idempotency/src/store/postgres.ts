// Records in PostgreSQL: the primary key and guarded updates arbitrate between any number of processes.
import type { PgPool } from './postgres-client.ts'
import * as statements from './postgres-statements.ts'
import type { ClaimOutcome, ClaimRequest, IssueOutcome, IssueRequest, RecordKey, Store } from './store.ts'
import { rateWindowMs } from './store.ts'

export interface PostgresStoreOptions {
  /** A Pool of `pg`. */
  readonly pool: PgPool
  /** For tests: milliseconds since 1970 instead of the database's clock. */
  readonly now?: () => number
}

const sweepBatch = 5_000

class PostgresStore implements Store {
  readonly name = 'postgres'
  readonly #pool: PgPool
  readonly #clock: (() => number) | undefined

  constructor({ pool, now }: PostgresStoreOptions) {
    this.#pool = pool
    this.#clock = now
  }

  async issue(request: IssueRequest): Promise<IssueOutcome> {
    const client = await this.#pool.connect()
    let failure: Error | undefined
    try {
      await client.query('BEGIN')
      // Counting and inserting must not interleave for one account. The count is a statement of its own, after the lock.
      await client.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [request.key.scope])
      const outcome = await this.#issueLocked(client, request)
      await client.query('COMMIT')
      return outcome
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
      throw error
    } finally {
      // With an error the connection is closed, which rolls back.
      client.release(failure)
    }
  }

  async #issueLocked(
    client: Parameters<typeof statements.countTokens>[0],
    request: IssueRequest,
  ): Promise<IssueOutcome> {
    const { key, limits } = request
    const used = await statements.countTokens(client, key.scope, rateWindowMs, this.#now())
    if (used.recent >= limits.perMinute) {
      return { kind: 'limited', limit: 'perMinute', retryAfterMs: used.rateWaitMs }
    }
    if (used.unused >= limits.outstanding) {
      return { kind: 'limited', limit: 'outstanding', retryAfterMs: used.unusedWaitMs }
    }
    const expiresAtMs = await statements.insertToken(client, request, this.#now())
    return expiresAtMs === undefined ? { kind: 'exists' } : { kind: 'issued', expiresAtMs }
  }

  async claim(request: ClaimRequest): Promise<ClaimOutcome> {
    if (request.createTtlMs !== undefined) {
      const expiresAtMs = await statements.claimCreating(this.#pool, request, this.#now())
      if (expiresAtMs !== undefined) return { kind: 'claimed', expiresAtMs, takenOver: false }
    }
    if (request.createTtlMs === undefined || request.takeOver) {
      const claimed = await statements.claimExisting(this.#pool, request, this.#now())
      if (claimed !== undefined) return { kind: 'claimed', ...claimed }
    }
    return statements.explainRefusal(this.#pool, request, this.#now())
  }

  async complete(request: Parameters<Store['complete']>[0]): Promise<'done' | 'stale'> {
    return (await statements.completeClaim(this.#pool, request, 'claimed', this.#now())) ? 'done' : 'stale'
  }

  async release({ key, owner }: Parameters<Store['release']>[0]): Promise<'released' | 'stale'> {
    const released =
      (await statements.releaseToken(this.#pool, key, owner)) ||
      (await statements.deleteRequestKey(this.#pool, key, owner))
    return released ? 'released' : 'stale'
  }

  async extend({ key, owner, leaseMs }: Parameters<Store['extend']>[0]): Promise<'extended' | 'stale'> {
    return (await statements.extendLease(this.#pool, key, owner, leaseMs, this.#now())) ? 'extended' : 'stale'
  }

  read(key: RecordKey): ReturnType<Store['read']> {
    return statements.readRecord(this.#pool, key, this.#now())
  }

  async sweep(): Promise<number> {
    let removed = 0
    for (;;) {
      const batch = await statements.deleteExpired(this.#pool, sweepBatch, this.#now())
      removed += batch
      if (batch < sweepBatch) return removed
    }
  }

  #now(): number | null {
    return this.#clock?.() ?? null
  }
}

/** A store in PostgreSQL 13 or later. Make its table first, with `migratePostgres` or the text of `postgresSchemaSql`. */
export const createPostgresStore = (options: PostgresStoreOptions): Store => new PostgresStore(options)
