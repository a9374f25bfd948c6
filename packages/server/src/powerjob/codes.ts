// The enums of the PowerJob wire (contract 7): name, numeric code, and place of declaration, which Jackson takes as a number.

/** An enum of the wire; its names stand in the order of their declaration. */
export interface Codes<Name extends string> {
  readonly names: readonly Name[]
  codeOf(name: Name): number
  /** The name that has this code; undefined when none has. */
  nameOf(code: number): Name | undefined
}

const codes = <const Name extends string>(entries: readonly (readonly [Name, number])[]): Codes<Name> => {
  const byName = new Map<Name, number>(entries)
  return {
    names: entries.map(([name]) => name),
    codeOf: (name) => byName.get(name) ?? 0,
    nameOf: (code) => entries.find(([, one]) => one === code)?.[0],
  }
}

type NameIn<C> = C extends Codes<infer Name> ? Name : never

export const timeExpressionTypes = codes([
  ['API', 1],
  ['CRON', 2],
  ['FIXED_RATE', 3],
  ['FIXED_DELAY', 4],
  ['WORKFLOW', 5],
  ['DAILY_TIME_INTERVAL', 11],
])
export type TimeExpressionType = NameIn<typeof timeExpressionTypes>

export const executeTypes = codes([
  ['STANDALONE', 1],
  ['BROADCAST', 2],
  ['MAP_REDUCE', 3],
  ['MAP', 4],
])
export type ExecuteType = NameIn<typeof executeTypes>

/** The last two are deprecated: the script stands in processorInfo. */
export const processorTypes = codes([
  ['BUILT_IN', 1],
  ['EXTERNAL', 4],
  ['SHELL', 2],
  ['PYTHON', 3],
])
export type ProcessorType = NameIn<typeof processorTypes>

export const dispatchStrategies = codes([
  ['HEALTH_FIRST', 1],
  ['RANDOM', 2],
  ['SPECIFY', 11],
])
export type DispatchStrategy = NameIn<typeof dispatchStrategies>

/** Of instances, and of the nodes of a DAG. */
export const instanceStatuses = codes([
  ['WAITING_DISPATCH', 1],
  ['WAITING_WORKER_RECEIVE', 2],
  ['RUNNING', 3],
  ['FAILED', 4],
  ['SUCCEED', 5],
  ['CANCELED', 9],
  ['STOPPED', 10],
])

export const switchableStatuses = codes([
  ['ENABLE', 1],
  ['DISABLE', 2],
  ['DELETED', 99],
])

export const workflowNodeTypes = codes([
  ['JOB', 1],
  ['DECISION', 2],
  ['NESTED_WORKFLOW', 3],
])

export const logLevels = codes([
  ['DEBUG', 1],
  ['INFO', 2],
  ['WARN', 3],
  ['ERROR', 4],
  ['OFF', 99],
])

export const logTypes = codes([
  ['ONLINE', 1],
  ['LOCAL', 2],
  ['STDOUT', 3],
  ['LOCAL_AND_ONLINE', 4],
  ['NULL', 999],
])

export const trackerBehaviors = codes([
  ['NORMAL', 1],
  ['PADDLING', 11],
])

export const instanceTypes = codes([
  ['NORMAL', 1],
  ['WORKFLOW', 2],
])
