// Run keys: what one stands for, and freeing it.
import type { RunKeyReset, RunKeyState } from '@oncejob/protocol'
import type { AppScope } from './app-scope.ts'
import type { CallOptions, Caller, MutationOptions } from './call.ts'

/** A run key of a job, named by id or name; without a job the one of the app (scope `app`). */
export interface RunKeyRef {
  key: string
  job?: number | string
}

export interface RunKeysApi {
  /** What the key stands for. Rejects with RUN_KEY_NOT_FOUND when that is nothing. */
  get(ref: RunKeyRef, options?: CallOptions): Promise<RunKeyState>
  /**
   * Frees the key: the next call with it makes a run. While its run is open that is refused with RUN_KEY_CONFLICT;
   * with `force` the run is canceled, or asked to stop and waited for by the next one.
   */
  reset(ref: RunKeyRef, options?: MutationOptions & { force?: boolean }): Promise<RunKeyReset>
}

export const createRunKeys = (caller: Caller, scope: AppScope): RunKeysApi => {
  const at = ({ key, job }: RunKeyRef): string =>
    `${job === undefined ? '/api/v1' : `/api/v1/jobs/${encodeURIComponent(job)}`}/run-keys/${encodeURIComponent(key)}`
  return {
    get: (ref, options) => caller.json({ kind: 'read', method: 'GET', path: scope.path(at(ref)), options }),
    reset: (ref, { force, ...options } = {}) =>
      caller.json({ kind: 'mutation', method: 'DELETE', path: at(ref), query: scope.query({ force }), options }),
  }
}
