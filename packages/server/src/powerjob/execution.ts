// Executes one call whose caller is known: with its request key, in one transaction, recognised when it was sent again.
import { Refusal } from '@oncejob/protocol'
import { fingerprintOf } from '../requests/fingerprint.ts'
import { keyIn, type RequestKeys } from '../requests/keys.ts'
import type { Queries } from '../storage/db.ts'
import type { KnownKey, RequestKey } from '../storage/request-keys.ts'
import type { Endpoint, WireCall, WireServices } from './call.ts'
import { success } from './envelope.ts'
import type { LegacyAttempt } from './resends-api.ts'

/** Builds the services anew on a transaction; what they would tell others waits in `after` for its commit. */
export type JoinWireServices = (tx: Queries, after: (tell: () => void) => void) => WireServices

export interface ExecutionNeeds {
  readonly services: WireServices
  readonly join: JoinWireServices
  readonly keys: RequestKeys
}

/** What was executed, or found to be executed already under the same key. */
export interface Executed {
  readonly body: string
  /** The first call with the key of the attempt; undefined: this call was executed. */
  readonly replayOf: KnownKey | undefined
}

/** Thrown to leave a transaction whose caller has hung up: it may be asking another server already (contract R9). */
export class PeerGone extends Error {
  override readonly name = 'PeerGone'
}

/** The request key of a mutating call, or null when it has none. @throws Refusal IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_REQUIRED */
export const keyTextOf = (header: string | string[] | undefined, required: boolean): string | null => {
  const key = keyIn(header)
  if (key !== null || !required) return key
  throw new Refusal(
    'IDEMPOTENCY_KEY_REQUIRED',
    'This app takes no change without a request key: put the header Idempotency-Key into the defaultHeaders of the client, a new one for each call.',
  )
}

const requestKeyOf = (call: WireCall, key: string, requestId: string): RequestKey => {
  const path = `/openApi${call.path}`
  const body = call.body === undefined ? Object.fromEntries(call.fields) : call.body
  return {
    appId: call.appId,
    key,
    fingerprint: fingerprintOf({ method: 'POST', path, query: {}, ifMatch: undefined, body }),
    requestId,
    route: `POST ${path}`,
  }
}

const storedHeaders = JSON.stringify({ 'content-type': 'application/json' })

/** Tells what became of the key of a run that a statement has made. */
const watchSubmit = (services: WireServices, replayed: (first: KnownKey) => void): WireServices => ({
  ...services,
  runs: {
    ...services.runs,
    submit: async (submission) => {
      const made = await services.runs.submit(submission)
      if (made.replayOf !== null) replayed(made.replayOf)
      return made
    },
  },
})

/** Creates what executes the calls of an endpoint; `isGone`: the caller has hung up. */
export const createExecution = ({ services, join, keys }: ExecutionNeeds) => {
  /** On services that are one transaction; what they would tell others is told after its commit. */
  const joined = async (
    endpoint: Endpoint,
    call: WireCall,
    isGone: () => boolean,
    { tx, tellings }: { readonly tx: Queries; readonly tellings: (() => void)[] },
  ): Promise<string> => {
    const data = await endpoint.handle(
      call,
      join(tx, (tell) => void tellings.push(tell)),
    )
    if (isGone()) throw new PeerGone()
    return success(data)
  }

  return async (
    endpoint: Endpoint,
    call: WireCall,
    about: { readonly attempt: LegacyAttempt; readonly requestId: string; readonly isGone: () => boolean },
  ): Promise<Executed> => {
    if (!endpoint.mutates) return { body: success(await endpoint.handle(call, services)), replayOf: undefined }
    const { attempt, requestId, isGone } = about
    const key = attempt.key === null ? null : requestKeyOf(call, attempt.key, requestId)
    let replayOf: KnownKey | undefined
    if (endpoint.keyed === 'statement') {
      const watched = key === null ? services : watchSubmit(services, (first) => (replayOf = first))
      return { body: success(await endpoint.handle({ ...call, keyed: key }, watched)), replayOf }
    }
    const tellings: (() => void)[] = []
    const work = (tx: Queries): Promise<string> => joined(endpoint, call, isGone, { tx, tellings })
    let body: string
    if (key === null) body = await services.db.transaction(work)
    else {
      const once = await keys.once(key, async (tx) => ({ status: 200, headers: storedHeaders, body: await work(tx) }))
      replayOf = once.replayOf
      body = once.answer.body ?? success(null)
    }
    for (const tell of tellings) tell()
    return { body, replayOf }
  }
}
