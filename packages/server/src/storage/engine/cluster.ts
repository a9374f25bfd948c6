// The embedded database's files: how a data folder gets its first cluster, and which one this server can read.
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { brotliDecompress } from 'node:zlib'
import { StartFailure } from '../../kernel/errors.ts'
import { syncFolder, unpackFolder } from './tar.ts'

/** The release of @electric-sql/pglite that the seed was made with; scripts/make-seed.ts makes the next one. */
export const seedRelease = '0.5.16'

/** PostgreSQL's major release in it. */
export const embeddedMajor = '18'

/** Where the seed lies: packages/server/assets, seen from the source and from the published build alike. */
export const seedUrl = new URL(`../../../assets/cluster-pglite-${seedRelease}.tar.br`, import.meta.url)

/** An initialised, cleanly stopped, empty cluster as a tar. */
export const readSeed = async (): Promise<Uint8Array> => promisify(brotliDecompress)(await readFile(seedUrl))

const partial = /^pg\.unpacking/

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/**
 * Makes sure the data folder exists and can be written.
 * @throws StartFailure otherwise.
 */
export const prepareFolder = (dir: string): void => {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    if (!statSync(dir).isDirectory()) throw new Error('it is not a folder')
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    // translated for the operator
    throw new StartFailure(`the data folder ${dir} cannot be used: ${reason(error)}`, { cause: error })
  }
}

const checkRelease = (cluster: string): void => {
  const path = join(cluster, 'PG_VERSION')
  const found = existsSync(path) ? readFileSync(path, 'utf8').trim() : 'an unknown release'
  if (found !== embeddedMajor) {
    throw new StartFailure(
      `${cluster} was written by PostgreSQL ${found}; this server embeds PostgreSQL ${embeddedMajor}`,
    )
  }
}

/**
 * The folder of the cluster inside the data folder, made from the seed when there is none. Needs the folder's lock.
 * The cluster appears under its name only when all of it is on the disk, so a crash leaves nothing to mistrust.
 */
export const ensureCluster = async (dir: string): Promise<string> => {
  const cluster = join(dir, 'pg')
  for (const name of readdirSync(dir)) if (partial.test(name)) rmSync(join(dir, name), { recursive: true })
  if (existsSync(cluster)) {
    checkRelease(cluster)
    return cluster
  }
  const unpacking = join(dir, 'pg.unpacking')
  await unpackFolder(await readSeed(), unpacking, { sync: true })
  renameSync(unpacking, cluster)
  await syncFolder(dir)
  await syncFolder(dirname(dir))
  return cluster
}
