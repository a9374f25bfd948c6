// Workflows and nodes of the wire (contract 4.5–4.7, 5.4, 5.6) to and from ours, and the texts for what is wrong with them.
import type { Trigger } from '@oncejob/protocol'
import { canonicalJson } from '../runs/job-changes.ts'
import { fullSchedule } from '../runs/schedule-codec.ts'
import type { NodeInput, SavedNode } from '../scheduling/workflows-service.ts'
import type { StoredWorkflow } from '../storage/workflows.ts'
import type { Dag, Edge, NodeDefinition, WorkflowDefinition, WorkflowNode } from '../workflows/definition.ts'
import type { WorkflowProblem } from '../workflows/problems.ts'
import { WireError } from './call.ts'
import { timeExpressionTypes, workflowNodeTypes, type TimeExpressionType } from './codes.ts'
import {
  asBoolean,
  asEnum,
  asInt,
  asList,
  asLong,
  asObject,
  asText,
  field,
  isoText,
  member,
  type Fields,
} from './jackson.ts'
import {
  boundsOf,
  checkNextTrigger,
  isByTheClock,
  lifeCycleOf,
  readTime,
  timeOf,
  type LifeCycle,
  type TimeExpression,
} from './schedule-codec.ts'
import { plainText, userIdsIn } from './job-codec.ts'

const refused = (says: string): WireError => new WireError('PowerJobException', says)

/** What saveWorkflow carries. */
export interface WorkflowRequest {
  readonly id: number | null
  readonly name: string
  readonly description: string | null
  readonly time: TimeExpression
  readonly maxWfInstanceNum: number
  readonly enabled: boolean
  /** Null: as they are. */
  readonly notify: readonly string[] | null
  /** Null: as it is. */
  readonly lifeCycle: LifeCycle | null
  /** Undefined: it can not be one. */
  readonly dag: Dag | undefined
}

const known = <T>(values: readonly (T | null)[]): T[] => values.filter((value) => value !== null)

/** Undefined where PowerJob would not get as far as looking at the graph. */
const readDag = (fields: Fields | null): Dag | undefined => {
  if (fields === null) return undefined
  const nodes = field(fields, 'nodes', asList(asObject))
  const edges = field(fields, 'edges', asList(asObject))
  if (nodes === null || edges === null) return undefined
  const ids = known(nodes.map((node) => node && field(node, 'nodeId', asLong)))
  const read = known(
    edges.map((edge): Edge | null => {
      if (edge === null) return null
      const [from, to] = [field(edge, 'from', asLong), field(edge, 'to', asLong)]
      return from === null || to === null ? null : { from, to, property: field(edge, 'property', asText) }
    }),
  )
  return ids.length === nodes.length && read.length === edges.length ? { nodes: ids, edges: read } : undefined
}

const readLifeCycle = (fields: Fields | null): LifeCycle | null =>
  fields && { start: field(fields, 'start', asLong), end: field(fields, 'end', asLong) }

/** Absent: nobody. Null: as they are. */
const readNotify = (fields: Fields): string[] | null => {
  if (member(fields, 'notifyUserIds') === undefined) return []
  const ids = field(fields, 'notifyUserIds', asList(asLong))
  return ids && known(ids).map(String)
}

// a workflow has no rate and no delay: PowerJob takes them and never starts it
const isPeriodic = (type: TimeExpressionType): boolean => type === 'FIXED_RATE' || type === 'FIXED_DELAY'

/** @throws WireError when a member can not be read, or is missing */
export const readWorkflow = (fields: Fields): WorkflowRequest => {
  const id = field(fields, 'id', asLong)
  const name = field(fields, 'wfName', asText)
  const appId = field(fields, 'appId', asLong)
  const type = field(fields, 'timeExpressionType', asEnum(timeExpressionTypes.names))
  const read = {
    id,
    description: field(fields, 'wfDescription', asText),
    // PowerJob keeps a null, and each start fails because of it: here it is the default
    maxWfInstanceNum: field(fields, 'maxWfInstanceNum', asInt) ?? 1,
    enabled: field(fields, 'enable', asBoolean(true)),
    notify: readNotify(fields),
    lifeCycle: readLifeCycle(field(fields, 'lifeCycle', asObject)),
    dag: readDag(field(fields, 'dag', asObject)),
  }
  const expression = field(fields, 'timeExpression', asText)
  if (name === null || name === '') throw refused("workflow name can't be empty")
  if (appId === null) throw refused("appId can't be empty")
  if (type === null) throw refused("timeExpressionType can't be empty")
  return { ...read, name, time: { type, expression: isPeriodic(type) ? null : expression } }
}

/** @throws WireError */
const triggerOf = ({ type, expression }: TimeExpression): Trigger =>
  readTime({ type: isPeriodic(type) ? 'API' : type, expression })

/** Below 1 there is no limit. */
const limitOf = (maxWfInstanceNum: number): number => Math.max(0, maxWfInstanceNum)

// What was written counts as long as it still says the same as the columns: the native API may have changed them since.

/** Whether an expression still stands for this trigger. */
const standsFor = (time: TimeExpression, trigger: Trigger): boolean => {
  try {
    return canonicalJson(triggerOf(time)) === canonicalJson(trigger)
  } catch (error) {
    // a kept text of another time: it says nothing any more
    if (error instanceof WireError) return false
    throw error
  }
}

/** The time expression as it was written, or as the trigger is said on this wire. */
const timeShown = ({ schedule, powerjob }: WorkflowDefinition): TimeExpression => {
  const type = timeExpressionTypes.names.find((one) => one === powerjob?.['timeExpressionType'])
  const text = powerjob?.['timeExpression']
  const kept = type && { type, expression: typeof text === 'string' ? text : null }
  return kept !== undefined && standsFor(kept, schedule.trigger) ? kept : timeOf(schedule)
}

const limitShown = ({ maxConcurrentRuns, powerjob }: WorkflowDefinition): number => {
  const kept = powerjob?.['maxWfInstanceNum']
  return typeof kept === 'number' && limitOf(kept) === maxConcurrentRuns ? kept : maxConcurrentRuns
}

/** When it starts; an expression that comes back as it was shown stays the trigger that it stood for. */
const scheduleOf = (
  { time, lifeCycle }: WorkflowRequest,
  current: WorkflowDefinition | undefined,
  zone: string,
): WorkflowDefinition['schedule'] => {
  const bounds = lifeCycle === null ? {} : boundsOf(lifeCycle)
  if (current !== undefined && canonicalJson(timeShown(current)) === canonicalJson(time)) {
    return { ...current.schedule, ...bounds }
  }
  const trigger = triggerOf(time)
  const before = current?.schedule ?? fullSchedule({ trigger, overlap: 'fail' })
  const keepsZone = isByTheClock(before.trigger) && current !== undefined
  return { ...before, ...bounds, trigger, zone: keepsZone || !isByTheClock(trigger) ? before.zone : zone }
}

/**
 * The workflow that is asked for.
 * @param current what is there, when it is changed
 * @param zone of expressions on a clock
 * @throws WireError when the time expression is wrong or over, or the graph is none
 */
export const definitionOf = (
  request: WorkflowRequest,
  current: WorkflowDefinition | undefined,
  { zone, nowMs }: { readonly zone: string; readonly nowMs: number },
): WorkflowDefinition => {
  const { name, description, enabled, maxWfInstanceNum, time, dag } = request
  const schedule = scheduleOf(request, current, zone)
  checkNextTrigger(schedule, time.expression, nowMs)
  if (dag === undefined) throw refused('illegal DAG')
  return {
    name,
    description,
    enabled,
    schedule,
    maxConcurrentRuns: limitOf(maxWfInstanceNum),
    notify: request.notify ?? current?.notify ?? [],
    dag,
    powerjob: { timeExpressionType: time.type, timeExpression: time.expression, maxWfInstanceNum },
  }
}

const typeOf = ({ kind }: NodeDefinition): number =>
  workflowNodeTypes.codeOf(kind === 'job' ? 'JOB' : kind === 'decision' ? 'DECISION' : 'NESTED_WORKFLOW')

/** A job's id, or for a nested node the workflow's. */
const jobIdOf = (node: NodeDefinition): number | null =>
  node.kind === 'job' ? node.jobId : node.kind === 'workflow' ? node.workflowId : null

const paramsOf = (node: NodeDefinition): string | null =>
  node.kind === 'decision' ? node.script : plainText(node.params)

/** The members that a run would fill are null in a definition. */
const dagNode = (node: WorkflowNode) => ({
  nodeId: node.id,
  nodeType: typeOf(node),
  jobId: jobIdOf(node),
  nodeName: node.name,
  instanceId: null,
  nodeParams: paramsOf(node),
  status: null,
  result: null,
  enable: node.enabled,
  disableByControlNode: null,
  skipWhenFailed: node.skipWhenFailed,
  startTime: null,
  finishedTime: null,
})

/** A workflow as fetchWorkflow answers it. */
export const workflowInfo = (appId: number, { id, definition, nodes, ...workflow }: StoredWorkflow) => {
  const { type, expression } = timeShown(definition)
  const lifeCycle = lifeCycleOf(definition.schedule)
  return {
    id,
    wfName: definition.name,
    wfDescription: definition.description,
    appId,
    timeExpressionType: type,
    timeExpression: expression,
    maxWfInstanceNum: limitShown(definition),
    enable: definition.enabled,
    notifyUserIds: userIdsIn(definition.notify),
    lifeCycle: lifeCycle.start === null && lifeCycle.end === null ? null : lifeCycle,
    gmtCreate: isoText(workflow.createdAt),
    gmtModified: isoText(workflow.updatedAt),
    // the capitals of this name are lost on PowerJob's way to JSON, and clients expect them so
    peworkflowDAG: {
      nodes: nodes.map(dagNode),
      edges: definition.dag.edges.map(({ from, to, property }) => ({ from, to, property, enable: null })),
    },
  }
}

/** A boxed boolean: a null, which would be an error of the database there, is the default. */
const asChoice = (fields: Fields, name: string, absent: boolean): boolean =>
  member(fields, name) === null ? absent : field(fields, name, asBoolean(absent))

/** One element of addWorkflowNode. @throws WireError when a member can not be read, or is missing */
export const readNode = (element: Fields): NodeInput => {
  const type = field(element, 'type', asInt)
  const jobId = field(element, 'jobId', asLong)
  const params = field(element, 'nodeParams', asText)
  const common = {
    id: field(element, 'id', asLong),
    name: field(element, 'nodeName', asText),
    enabled: asChoice(element, 'enable', true),
    skipWhenFailed: asChoice(element, 'skipWhenFailed', false),
  }
  if (field(element, 'appId', asLong) === null) throw refused("appId can't be empty")
  if (type === null) throw refused("type can't be empty")
  const name = workflowNodeTypes.nameOf(type)
  if (name === undefined) throw new WireError('IllegalArgumentException', `unknown WorkflowNodeType of ${type}`)
  if (name === 'DECISION') return { ...common, kind: 'decision', script: params ?? '', params: null }
  if (jobId === null) throw refused("jobId can't be empty")
  return name === 'JOB'
    ? { ...common, kind: 'job', jobId, params }
    : { ...common, kind: 'workflow', workflowId: jobId, params }
}

/** A node as addWorkflowNode answers it. */
export const nodeInfo = (appId: number, { node, workflowId, createdAt, updatedAt }: SavedNode) => ({
  id: node.id,
  appId,
  workflowId,
  type: typeOf(node),
  jobId: jobIdOf(node),
  nodeName: node.name,
  nodeParams: paramsOf(node),
  enable: node.enabled,
  skipWhenFailed: node.skipWhenFailed,
  extra: null,
  gmtCreate: isoText(createdAt),
  gmtModified: isoText(updatedAt),
})

/** The text of the contract for a problem; the odd quotes and spaces are PowerJob's. */
export const problemText = (problem: WorkflowProblem): string => {
  switch (problem.kind) {
    case 'no-nodes':
    case 'duplicate-node':
    case 'unknown-end':
    case 'no-root':
    case 'cycle':
      return 'illegal DAG'
    case 'node-missing':
      return `can't find node info by id :${problem.nodeId}`
    case 'node-elsewhere':
      return "can't use another workflow's node"
    case 'decision-edges':
      return `DecisionNode‘s out-degree must be 2,node name : ${problem.nodeName}`
    case 'decision-branches':
      return `Illegal property of DecisionNode‘s out-degree edge,node name : ${problem.nodeName}`
    case 'decision-script':
      return `DecisionNode‘s param must be not null,node name : ${problem.nodeName}`
    case 'job-missing':
      return `Illegal job node,specified job is not exist,node name : ${problem.nodeName}`
    case 'job-deleted':
      return `Illegal job node,specified job has been deleted,node name : ${problem.nodeName}`
    case 'nested-missing':
      return `Illegal nested workflow node,specified workflow is not exist,node name : ${problem.nodeName}`
    case 'nested-deleted':
      return `Illegal nested workflow node,specified workflow has been deleted,node name : ${problem.nodeName}`
    case 'nested-itself':
      return `Illegal nested workflow node,Prohibit circular references!${problem.nodeName}`
    case 'nested-nests':
      return `Illegal nested workflow node,specified workflow must be a simple workflow,node name : ${problem.nodeName}`
    case 'name-empty':
      return "workflow name can't be empty"
  }
}
