// One process per data folder: a lock that the kernel releases however the process ends.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { StartFailure } from '../../kernel/errors.ts'

export interface FolderLock {
  release(): void
}

const sqliteBusy = 5

const codeOf = (error: unknown): unknown => (error instanceof Error ? Reflect.get(error, 'errcode') : undefined)

const holder = (pidFile: string): string => {
  try {
    const pid = readFileSync(pidFile, 'utf8').trim()
    return /^\d+$/.test(pid) ? ` (pid ${pid})` : ''
  } catch {
    // only makes the message better
    return ''
  }
}

/**
 * Locks the folder for this process. SQLite is used for nothing but its file lock: the one lock of the operating
 * system that Node reaches without native code. The pid goes to a file of its own, because closing a second handle
 * on `lock.db` in the same process would drop the lock.
 * @throws StartFailure when another process holds it.
 */
export const lockFolder = (dir: string): FolderLock => {
  const pidFile = join(dir, 'lock.pid')
  const database = new DatabaseSync(join(dir, 'lock.db'))
  try {
    database.exec('pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    // translated for the operator
    database.close()
    if (codeOf(error) !== sqliteBusy) throw error
    throw new StartFailure(`the data folder ${dir} is in use by another OnceJob server${holder(pidFile)}`, {
      cause: error,
    })
  }
  writeFileSync(pidFile, `${process.pid}\n`)
  return { release: () => database.close() }
}
