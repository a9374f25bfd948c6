// PGlite's file system on disk, with the sync that it leaves out.
import { fdatasyncSync } from 'node:fs'
import { NodeFS } from '@electric-sql/pglite/nodefs'

type Init = NodeFS['init']

const numberField = (value: unknown, field: string): number | undefined => {
  if (typeof value !== 'object' || value === null) return undefined
  const found: unknown = Reflect.get(value, field)
  return typeof found === 'number' ? found : undefined
}

/**
 * A data folder whose `fsync` reaches the disk. PGlite's own file system has no `fsync` operation, so
 * PostgreSQL's calls succeed without doing anything and a power cut loses commits (I6).
 * PostgreSQL has to run without `-F` and with `wal_sync_method=fsync`: fdatasync never gets as far as a file system.
 */
export class DurableFs extends NodeFS {
  #syncs = 0
  #failure: unknown

  /** How many files have been synced so far. */
  get syncs(): number {
    return this.#syncs
  }

  /** Why a sync has failed, if one has. From then on nobody knows what is on the disk. */
  get failure(): unknown {
    return this.#failure
  }

  override async init(...[pg, options]: Parameters<Init>): ReturnType<Init> {
    const addSync = (module: object): void => {
      const fileSystem: unknown = Reflect.get(module, 'NODEFS')
      const operations: unknown =
        typeof fileSystem === 'object' && fileSystem !== null ? Reflect.get(fileSystem, 'stream_ops') : undefined
      if (typeof operations !== 'object' || operations === null)
        throw new Error('PGlite has no NODEFS.stream_ops: cannot sync')
      Reflect.set(operations, 'fsync', (stream: unknown) => this.#sync(stream))
    }
    return super.init(pg, { ...options, preRun: [...(options.preRun ?? []), addSync] })
  }

  #sync(stream: unknown): void {
    const descriptor = numberField(stream, 'nfd')
    if (descriptor === undefined) return
    try {
      fdatasyncSync(descriptor)
      this.#syncs += 1
    } catch (error) {
      // kept for the session, which must not believe an answer after it; rethrown
      this.#failure ??= error
      throw error
    }
  }
}
