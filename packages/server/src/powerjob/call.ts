// What one OpenAPI call of a PowerJob client is, once transport and auth are done with it, and what its endpoint may use.
import type { RunsApi } from '../dispatch/api.ts'
import type { Caller, JobsService } from '../scheduling/jobs-service.ts'
import type { WorkflowsService } from '../scheduling/workflows-service.ts'
import type { Db } from '../storage/db.ts'
import type { RequestKey } from '../storage/request-keys.ts'

/** The services of /api/v1, on the database or in the transaction of this call. The wire has no rules of its own. */
export interface WireServices {
  readonly db: Db
  readonly runs: RunsApi
  readonly jobs: JobsService
  readonly workflows: WorkflowsService
}

/** How an app wants the wire to behave; see docs/from-powerjob.md. */
export interface WireSettings {
  /** Calls without a token are taken: for clients 4.x, which have none. */
  readonly tokenless: boolean
  /** copyJob and copyWorkflow copy the switch too, as PowerJob does; otherwise copies are disabled. */
  readonly copyEnabled: boolean
  /** Whether a re-sent call is recognised by evidence (contract 3b), or every call is executed. */
  readonly collapse: 'evidence' | 'off'
}

export interface WireCall {
  /** Below /openApi, for example /runJob. */
  readonly path: string
  /** The app that calls: of the token, or the one that the call names where tokens are not checked. */
  readonly appId: number
  /** Who did it, for the audit trail. */
  readonly actor: string
  readonly settings: WireSettings
  /** IANA zone in which CRON and daily windows of this wire are meant. */
  readonly zone: string
  /** Form fields and query parameters; the first of a name counts. */
  readonly fields: ReadonlyMap<string, string>
  /**
   * The parsed JSON body of a JSON endpoint: an object, or an array where the app is named by the first element; undefined for forms.
   * No text in it (and in `fields`) has U+0000 or a lone surrogate; whole numbers beyond 2^53 come as a text of their digits.
   */
  readonly body: unknown
  /** The key of this call when its statement takes it itself (runJob); null: there is none, or the transaction around has it. */
  readonly keyed: RequestKey | null
}

/** Who calls, as the services want to know it. */
export const callerOf = ({ appId, actor }: WireCall): Caller => ({ appId, actor })

export interface Endpoint {
  readonly path: string
  readonly accepts: 'form' | 'json'
  readonly mutates: boolean
  /** `statement`: the handler hands `call.keyed` on to the one statement that takes it; otherwise a transaction is put around. */
  readonly keyed?: 'statement'
  /** Where the call names its app. */
  readonly app: 'appId' | 'appIdEq' | 'first-element'
  /** For calls that may name no app (fetchInstance* of 4.x): the app of what they name; undefined: there is no such thing. */
  owner?(fields: ReadonlyMap<string, string>, services: WireServices): Promise<number | undefined>
  /** Resolves with the `data` of the envelope. @throws WireError, Refusal */
  handle(call: WireCall, services: WireServices): Promise<unknown>
}

export type JavaError =
  | 'PowerJobException'
  | 'IllegalArgumentException'
  | 'IllegalStateException'
  | 'NullPointerException'
  | 'HttpMessageNotReadableException'
  | 'MethodArgumentTypeMismatchException'
  | 'HttpRequestMethodNotSupportedException'
  | 'HttpMediaTypeNotSupportedException'
  | 'PropertyReferenceException'
  | 'JsonParseException'

/** A failure in the form of the wire: HTTP 200, success false, `<class>: <text>`, nothing done. */
export class WireError extends Error {
  readonly javaClass: JavaError | null
  /** Error code of the contract's 7.15; null for most. */
  readonly code: string | null

  /** @param javaClass null: the text stands alone, as the contract has it for authApp and rejected tokens */
  constructor(javaClass: JavaError | null, text: string, code: string | null = null) {
    super(text)
    this.javaClass = javaClass
    this.code = code
  }
}
