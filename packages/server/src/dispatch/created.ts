// The answer of a call that asked for one run: as it is sent, as it is kept with the request key, and read back.
import type { RunCreated } from '@oncejob/protocol'
import { invariant } from '../kernel/errors.ts'
import type { KnownKey, StoredAnswer } from '../storage/request-keys.ts'
import type { Submitted } from './api.ts'
import type { KeyedRun } from './run-keys.ts'

/** Header of an answer with a run that its run key had already. */
export const deduplicatedHeader = 'run-deduplicated'

/** The body; what run keys have to say is there only when the call had one. */
export const createdOf = (made: KeyedRun, withKey: boolean): RunCreated => ({
  id: made.id,
  ...(withKey ? { deduplicated: made.deduplicated } : {}),
  ...(made.replaces === null ? {} : { replaces: made.replaces }),
  ...(made.after === null ? {} : { after: made.after }),
})

/** Status and headers. */
export const headOf = (made: KeyedRun): { status: number; headers: Record<string, string> } => ({
  status: made.deduplicated ? 200 : 201,
  headers: {
    location: `/api/v1/runs/${made.id}`,
    ...(made.deduplicated ? { [deduplicatedHeader]: 'true' } : {}),
  },
})

/** The answer as it is kept for repeats. */
export const answerOf = (made: KeyedRun, withKey: boolean): StoredAnswer => {
  const { status, headers } = headOf(made)
  return {
    status,
    headers: JSON.stringify({ ...headers, 'content-type': 'application/json; charset=utf-8' }),
    body: JSON.stringify(createdOf(made, withKey)),
  }
}

/** Reads a kept answer. `replayOf`: the first call when this one is a repeat. */
export const submittedOf = (kept: StoredAnswer, replayOf: KnownKey | null): Submitted => {
  const body: unknown = JSON.parse(kept.body ?? 'null')
  const member = (name: string): unknown => (typeof body === 'object' && body !== null ? Reflect.get(body, name) : null)
  const idOr = (value: unknown): number | null => (typeof value === 'number' ? value : null)
  const id = idOr(member('id'))
  invariant(id !== null, 'the kept answer of a call for a run has the id of the run')
  return {
    id,
    deduplicated: member('deduplicated') === true,
    replaces: idOr(member('replaces')),
    after: idOr(member('after')),
    replayOf,
  }
}
