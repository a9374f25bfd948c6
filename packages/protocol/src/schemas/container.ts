// Containers: jars that Java workers load at run time, and the live detail of runs that Java workers have.
import { Type, type Static } from 'typebox'
import { Id, Time, nullable } from './common.ts'

export const ContainerName = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$',
  description: 'Unique within the app: letters, digits, dot, dash, underscore; at most 100',
})

const containerProperties = {
  id: Id,
  name: Type.String(),
  version: Type.String({ description: 'MD5 of the jar in lower-case hex, as workers know it' }),
  sha256: Type.String({ description: 'SHA-256 of the jar in hex' }),
  size: Type.Integer({ description: 'Bytes of the jar' }),
  createdAt: Time,
  updatedAt: Time,
  deployedAt: nullable(Time),
}
export const Container = Type.Object(containerProperties)
export type Container = Static<typeof Container>

/** A Java worker of the app, and what its last heartbeat says of one container. */
export const ContainerWorker = Type.Object({
  address: Type.String(),
  state: Type.Enum(['loaded', 'outdated', 'absent'], {
    description: 'loaded: it has this version; outdated: another one; absent: none',
  }),
  version: nullable(Type.String()),
  loadedAt: nullable(Time),
})
export type ContainerWorker = Static<typeof ContainerWorker>

export const ContainerDetail = Type.Object({ ...containerProperties, workers: Type.Array(ContainerWorker) })
export type ContainerDetail = Static<typeof ContainerDetail>

/** Workers that are being told to load a container; whether they did is said by the container's workers. */
export const ContainerDeployed = Type.Object({ id: Id, version: Type.String(), workers: Type.Array(Type.String()) })
export type ContainerDeployed = Static<typeof ContainerDeployed>

const counters = {
  total: Type.Integer(),
  succeeded: Type.Integer(),
  failed: Type.Integer(),
  waiting: Type.Optional(Type.Integer()),
  sent: Type.Optional(Type.Integer({ description: 'Sent to a worker that has not confirmed' })),
  received: Type.Optional(Type.Integer()),
  running: Type.Optional(Type.Integer()),
}

export const JavaTaskFilters = ['running', 'waiting', 'failed', 'succeeded', 'all'] as const

/** A task of a run that a Java worker distributes. */
export const JavaTask = Type.Object({
  id: Type.String(),
  name: Type.String(),
  state: Type.String({ description: 'waiting, sent, received, running, failed or succeeded' }),
  worker: nullable(Type.String()),
  failures: Type.Integer(),
  content: nullable(Type.String()),
  result: nullable(Type.String()),
  createdAt: nullable(Time),
  changedAt: nullable(Time),
})
export type JavaTask = Static<typeof JavaTask>

/** One execution within the run of a job on a short interval. */
export const JavaSubRun = Type.Object({
  number: Type.Integer(),
  state: Type.String({ description: 'running, failed, succeeded, or unknown: the worker has not told how it ended' }),
  startedAt: Time,
  endedAt: nullable(Time),
  result: nullable(Type.String()),
})
export type JavaSubRun = Static<typeof JavaSubRun>

/** What is known of a run at a Java worker, by the worker's own clock. */
export const JavaRunDetail = Type.Object({
  runId: Id,
  source: Type.Enum(['live', 'stored'], {
    description: 'live: its worker was asked just now; stored: what it has told before',
  }),
  says: nullable(Type.String({ description: 'Why the worker could not be asked' })),
  worker: nullable(Type.String()),
  startedAt: nullable(Time),
  tasks: nullable(Type.Object(counters)),
  taskList: Type.Array(JavaTask, { description: 'At most ten, the latest changed first' }),
  subRuns: Type.Array(JavaSubRun, { description: 'Newest first' }),
})
export type JavaRunDetail = Static<typeof JavaRunDetail>
