// What the transport of Java workers, their logs and their containers ask of the core that runs them (contract 3, 4).
import type { Members } from './wire.ts'

/** A container that a worker says it has loaded (contract 3.1). */
export interface LoadedContainer {
  readonly containerId: number
  readonly version: string | null
  /** The worker's clock, ms since the epoch. */
  readonly deployedTime: number | null
}

/** A live session of a Java worker, as the last heartbeat that any server heard has it. */
export interface JavaWorker {
  readonly sessionId: number
  readonly appId: number
  /** `ip:port`: its identity, and where messages to it go. */
  readonly address: string
  readonly version: string | null
  readonly tag: string | null
  /** It has said that it takes nothing more for now. */
  readonly overload: boolean
  readonly lightTasks: number
  readonly heavyTasks: number
  readonly containers: readonly LoadedContainer[]
  /** How many runs it has. */
  readonly running: number
  /** When its last heartbeat was received, by the database's clock, ms since the epoch. */
  readonly heardAtMs: number
}

/** The answer to an ask, before it is written (wire.ts); `data` is JSON. */
export type AskReply =
  | { readonly success: true; readonly data?: unknown }
  | { readonly success: false; readonly message: string }

/** What became of a message that was sent to a worker. `refused`: nobody listens there, and nothing was sent. */
export type SendOutcome = 'delivered' | 'refused' | 'uncertain'

export interface JavaWorkerEvents {
  /** A session was opened here, or came over from another server. */
  seen?(worker: JavaWorker): void
  /** A session of this server was lost: no heartbeat for 60 s, or its port refuses. */
  lost?(worker: { readonly sessionId: number; readonly appId: number; readonly address: string }): void
}

/**
 * Java workers as every server of the cluster serves them: what one server is told, all may act on. The transport has
 * judged where a message comes from; here its app must be that of the session that it speaks of.
 */
export interface JavaWorkers {
  /**
   * Opens or renews the session of a worker (POST /server/workerHeartbeat).
   * @throws UnreadableMessage; Refusal WORKER_NOT_FOUND when there is no such app, or its name is another
   */
  heartbeat(message: Members): Promise<void>
  /**
   * Takes a status report (POST /server/reportInstanceStatus). Resolves after the commit. Undefined: nobody waits for the
   * answer (RUNNING), send an empty one. A report that is stale changes nothing and is acknowledged.
   * @throws UnreadableMessage, Outage: answer no acknowledgement, then the worker reports again
   */
  report(message: Members): Promise<AskReply | undefined>
  /** Which workers may take part in a job (POST /server/queryJobCluster). @throws UnreadableMessage */
  queryJobCluster(message: Members): Promise<AskReply>
  /** The live Java workers of an app, also those of other servers. */
  list(appId: number): Promise<JavaWorker[]>
  /** The live session at an address; undefined: none. */
  find(appId: number, address: string): Promise<JavaWorker | undefined>
  /** Sends a message that nobody answers (deployContainer, destroyContainer, stopInstance). Never throws. */
  tell(address: string, path: string, body: unknown): Promise<SendOutcome>
  /**
   * Asks a worker and decodes its answer (queryInstanceStatus); at most 5 s.
   * @throws Outage when it can not be reached, is late, or answers no AskResponse
   */
  ask(address: string, path: string, body: unknown): Promise<AskReply>
  /**
   * What the worker of a running run says of it (contract 3.8, InstanceDetail), for detail queries. Undefined: it has none.
   * Sub-runs of jobs on short intervals are kept as they are seen.
   * @throws Outage
   */
  detail(runId: number, customQuery?: string): Promise<unknown>
  on(events: JavaWorkerEvents): void
}
