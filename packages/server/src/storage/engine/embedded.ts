// The embedded database: PGlite, made safe with a lock on its folder, real syncs and a queue.
import { MemoryFS, PGlite } from '@electric-sql/pglite'
import { DatabaseError, Outage, StartFailure, invariant } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Db, Queries, QueryOptions } from '../db.ts'
import type { Sql } from '../sql.ts'
import { ensureCluster, prepareFolder, readSeed } from './cluster.ts'
import { DurableFs } from './durable-fs.ts'
import { EmbeddedQueue } from './embedded-queue.ts'
import type { RunGroup } from './embedded-queue.ts'
import { EmbeddedSession } from './embedded-session.ts'
import type { UpkeepLimits } from './embedded-upkeep.ts'
import { embeddedUpkeep, usualUpkeep } from './embedded-upkeep.ts'
import { inOrder } from './in-order.ts'
import type { FolderLock } from './folder-lock.ts'
import { lockFolder } from './folder-lock.ts'
import { rowsAs } from './values.ts'

export interface EmbeddedOptions {
  /** The data folder, made when it is missing, or `memory`. */
  readonly dir: string
  readonly log: Log
  /** Told once when the engine has broken down: nothing works any more, a new start recovers. */
  readonly onBreakdown?: (cause: unknown) => void
  /** A cluster to start from in memory, as a tar; for tests. */
  readonly seed?: Uint8Array
  /** Other limits than the usual ones; for tests. */
  readonly upkeep?: Partial<UpkeepLimits>
}

export interface EmbeddedDb extends Db {
  readonly kind: 'embedded'
  /** How many files have been synced to the disk since the start. */
  syncs(): number
  /** Runs `work` with the engine itself and nobody else; for tests and tools. */
  withEngine<T>(work: (engine: PGlite) => Promise<T>): Promise<T>
}

// As PGlite's own, but without `-F`: the sync is real.
const settings = {
  search_path: 'public',
  exit_on_error: 'false',
  log_checkpoints: 'false',
  max_worker_processes: '0',
  max_parallel_workers: '0',
  max_parallel_workers_per_gather: '0',
  max_parallel_maintenance_workers: '0',
  io_method: 'sync',
  wal_sync_method: 'fsync',
  timezone: 'UTC',
} as const

const startParams = (extra: readonly string[]): string[] => [
  '--single',
  '-O',
  '-j',
  ...extra,
  ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
]

// Waits for the disk, if anything was written.
const flush = `select case when pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()
  then pg_logical_emit_message(false, 'oncejob', '', true) end`

/**
 * Every statement stays a transaction of its own; those of a group do not wait for the disk, but share one sync.
 * Nobody is told of a commit before it, so what a crash can take is only what nobody was told.
 */
const groupCommit = (session: EmbeddedSession): RunGroup => {
  let relaxed = false
  return async (runs) => {
    const group = runs.length > 1
    if (group !== relaxed) await session.script(`set synchronous_commit = ${group ? 'off' : 'on'}`)
    relaxed = group
    for (const run of runs) await run()
    if (group) await session.execute(flush, [], 'oncejob_flush')
  }
}

const oneAfterAnother: RunGroup = async (runs) => {
  for (const run of runs) await run()
}

const transactionOn = async <T>(session: EmbeddedSession, work: (tx: Queries) => Promise<T>): Promise<T> => {
  await session.script('begin')
  let open = true
  const statements = inOrder()
  const query = <R>(statement: Sql, options?: QueryOptions): Promise<R[]> => {
    invariant(open, 'a transaction is not used after its end')
    const { text, values } = statement.toQuery()
    return statements.add(async () => rowsAs<R>((await session.execute(text, values, options?.name)).rows))
  }
  try {
    const value = await work({ query })
    open = false
    await statements.idle()
    const { tag } = await session.script('commit')
    if (tag === 'ROLLBACK') {
      throw new DatabaseError('the transaction had failed and was rolled back', {
        sqlState: '25P02',
        constraint: undefined,
        cause: undefined,
      })
    }
    return value
  } catch (error) {
    // to undo, then rethrown
    open = false
    await statements.idle()
    if (!(error instanceof Outage)) await session.script('rollback')
    throw error
  }
}

const scriptOn = async (session: EmbeddedSession, text: string): Promise<void> => {
  try {
    await session.script(text)
  } catch (error) {
    // the script may have begun a transaction; rethrown
    if (!(error instanceof Outage)) await session.script('rollback')
    throw error
  }
}

interface Engine {
  readonly pglite: PGlite
  readonly syncs: () => number
  readonly diskFailure: () => unknown
  readonly release: () => void
}

const startInMemory = async (seed: Uint8Array | undefined): Promise<Engine> => {
  const tar = new Blob([Uint8Array.from(seed ?? (await readSeed()))])
  const pglite = await PGlite.create({
    fs: new MemoryFS(),
    loadDataDir: tar,
    startParams: startParams(['-F', '-c', 'synchronous_commit=off']),
  })
  return { pglite, syncs: () => 0, diskFailure: () => undefined, release: () => undefined }
}

const startOnDisk = async (dir: string): Promise<Engine> => {
  prepareFolder(dir)
  const lock: FolderLock = lockFolder(dir)
  try {
    const fs = new DurableFs(await ensureCluster(dir))
    const pglite = await PGlite.create({ fs, startParams: startParams([]) })
    return { pglite, syncs: () => fs.syncs, diskFailure: () => fs.failure, release: () => lock.release() }
  } catch (error) {
    // the folder is given back, then rethrown
    lock.release()
    if (error instanceof StartFailure) throw error
    throw new StartFailure(
      `the embedded database in ${dir} did not start: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    )
  }
}

/**
 * Opens the embedded database and takes its folder for this process.
 * @throws StartFailure when the folder is in use, cannot be used, or was written by another release.
 */
export const openEmbedded = async (options: EmbeddedOptions): Promise<EmbeddedDb> => {
  const inMemory = options.dir === 'memory'
  const { pglite, syncs, diskFailure, release } = inMemory
    ? await startInMemory(options.seed)
    : await startOnDisk(options.dir)
  const { log } = options
  const stopped = (cause: unknown): void => {
    log.error({ err: cause }, 'embedded database stopped')
    options.onBreakdown?.(cause)
  }
  const session = new EmbeddedSession({ pglite, diskFailure, stopped })
  const upkeep = embeddedUpkeep(session, log, { ...usualUpkeep, ...options.upkeep })
  const queue = new EmbeddedQueue(inMemory ? oneAfterAnother : groupCommit(session), upkeep)
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    await queue.close()
    try {
      // after a breakdown a last checkpoint could make believe that all is on the disk; the next start recovers instead
      if (!session.dead) await pglite.close()
    } finally {
      release()
    }
  }
  return {
    kind: 'embedded',
    query: <R>(statement: Sql, queryOptions?: QueryOptions) => {
      const { text, values } = statement.toQuery()
      return queue.statement(async () => rowsAs<R>((await session.execute(text, values, queryOptions?.name)).rows))
    },
    transaction: (work) => queue.alone(() => transactionOn(session, work)),
    script: (text) => queue.alone(() => scriptOn(session, text)),
    notify: () => Promise.resolve(),
    listen: () => Promise.resolve(() => Promise.resolve()),
    hold: (_lock, changed) => {
      changed(true)
      return Promise.resolve(() => Promise.resolve())
    },
    syncs,
    withEngine: (work) => queue.alone(() => work(pglite)),
    close: () => (closing ??= close()),
  }
}
