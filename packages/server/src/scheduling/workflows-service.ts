// What people do to workflows and their nodes: each call is one transaction with its audit entries. Runs of workflows
// come later, so schedules are judged and stored, and wait.
import { Refusal, invariant } from '../kernel/errors.ts'
import { canonicalJson } from '../runs/job-changes.ts'
import { timingOfView } from '../runs/schedule-codec.ts'
import { appendAudit } from '../storage/audit-log.ts'
import type { Db, Queries } from '../storage/db.ts'
import { databaseNowMs, insertWorkflowSchedule, updateWorkflowSchedule } from '../storage/schedules-config.ts'
import { copyNodes } from '../storage/workflow-nodes.ts'
import * as workflows from '../storage/workflows.ts'
import type { NodeDefinition, Origin, WorkflowDefinition } from '../workflows/definition.ts'
import { WorkflowInvalid } from '../workflows/problems.ts'
import type { Caller } from './job-writes.ts'
import { firesDiffer } from './schedule-edit.ts'
import { isDatabaseError, transact } from './transact.ts'
import { checkShape, placeDag, saveNodes, type SavedNode } from './workflow-nodes.ts'

type StoredWorkflow = workflows.StoredWorkflow
export type { SavedNode } from './workflow-nodes.ts'

/** The version that the caller has seen; `*`: whatever is there. */
export type ExpectedVersion = '*' | number

/** Whether a change brings a deleted workflow back (audited as workflow.restore). */
export type Deleted = 'missing' | 'restored'

/** A node to be made, or one of the app's to be written anew. */
export type NodeInput = NodeDefinition & { readonly id: number | null }

export interface WorkflowCopy {
  readonly name: string
  readonly enabled: boolean
  readonly origin: Origin
}

export interface WorkflowsService {
  /** @throws Refusal WORKFLOW_NOT_FOUND, also for a deleted one */
  get(appId: number, workflowId: number): Promise<StoredWorkflow>
  /** The same for looking back: a deleted one is found too. @throws Refusal WORKFLOW_NOT_FOUND */
  getOfHistory(appId: number, workflowId: number): Promise<StoredWorkflow>
  /** Takes its nodes over. @throws Refusal WORKFLOW_INVALID (WorkflowInvalid), SCHEDULE_INVALID, NAME_TAKEN */
  create(caller: Caller, origin: Origin, definition: WorkflowDefinition): Promise<StoredWorkflow>
  /**
   * Writes a workflow anew. Nodes of it that the definition leaves out are gone; a change of nothing keeps the version.
   * @param want called with what is there, under its lock
   * @param deleted what becomes of a deleted one: by default it is not found
   * @throws as create; WORKFLOW_NOT_FOUND, VERSION_CONFLICT
   */
  replace(
    caller: Caller,
    workflowId: number,
    expected: ExpectedVersion,
    want: (current: WorkflowDefinition) => WorkflowDefinition,
    deleted?: Deleted,
  ): Promise<StoredWorkflow>
  /** Soft: its nodes and edges stay to be looked at. @throws Refusal WORKFLOW_NOT_FOUND, VERSION_CONFLICT */
  remove(caller: Caller, workflowId: number, expected: ExpectedVersion): Promise<void>
  /** @throws Refusal WORKFLOW_NOT_FOUND */
  setEnabled(caller: Caller, workflowId: number, enabled: boolean, deleted?: Deleted): Promise<StoredWorkflow>
  /** With nodes of its own. @throws Refusal WORKFLOW_NOT_FOUND, NAME_TAKEN */
  copy(caller: Caller, workflowId: number, copy: WorkflowCopy): Promise<StoredWorkflow>
  /**
   * Makes and changes nodes, all or none. A change that leaves a workflow with a graph that does not fit its nodes any
   * more (a job that becomes a decision) is for the next save of the workflow to mend.
   * @throws Refusal WORKFLOW_INVALID (WorkflowInvalid), WORKFLOW_NODE_NOT_FOUND
   */
  saveNodes(caller: Caller, nodes: readonly NodeInput[]): Promise<SavedNode[]>
}

const notFound = (workflowId: number): Refusal =>
  new Refusal('WORKFLOW_NOT_FOUND', `No workflow of this app has the id ${workflowId}.`)

const nameTaken = (name: string): Refusal =>
  new Refusal('NAME_TAKEN', `Another workflow of this app is named "${name}"; choose another name.`)

const targetOf = (workflowId: number): string => `workflow/${workflowId}`

const checkVersion = (expected: ExpectedVersion, { version }: StoredWorkflow): void => {
  if (expected === '*' || expected === version) return
  throw new Refusal('VERSION_CONFLICT', `The workflow is at version ${version}. Read it again, and change that.`, {
    expected,
    current: version,
  })
}

/** What can be judged without the database; the schedule only when it is new. */
const judge = (definition: WorkflowDefinition, old: WorkflowDefinition | undefined, nowMs: number): void => {
  const { name, schedule, enabled, dag } = definition
  if (name === '') throw new WorkflowInvalid({ kind: 'name-empty' })
  if (old === undefined || firesDiffer(old.schedule, schedule)) timingOfView(schedule, enabled ? nowMs : undefined)
  checkShape(dag)
}

interface Making {
  readonly origin: Origin
  readonly definition: WorkflowDefinition
  readonly action: string
  readonly detail: unknown
}

const insert = async (
  tx: Queries,
  caller: Caller,
  { origin, definition, action, detail }: Making,
): Promise<StoredWorkflow> => {
  const { appId, actor } = caller
  const workflowId = await workflows.insertWorkflow(tx, appId, origin, definition)
  if (workflowId === undefined) throw nameTaken(definition.name)
  await insertWorkflowSchedule(tx, workflowId, definition.schedule)
  await placeDag(tx, appId, workflowId, definition.dag)
  await appendAudit(tx, { actor, appId, action, target: targetOf(workflowId), detail })
  return workflows.writtenWorkflow(tx, appId, workflowId)
}

/** A workflow, locked; a deleted one only when it shall come back. */
const locked = async (
  tx: Queries,
  appId: number,
  workflowId: number,
  deleted: Deleted = 'missing',
): Promise<StoredWorkflow> => {
  const found = await workflows.lockWorkflow(tx, appId, workflowId)
  if (found === undefined || (found.deletedAt !== null && deleted === 'missing')) throw notFound(workflowId)
  return found
}

const changedMembers = (wanted: WorkflowDefinition, current: WorkflowDefinition): string[] => {
  const [one, other]: Readonly<Record<string, unknown>>[] = [{ ...wanted }, { ...current }]
  return Object.keys({ ...one }).filter((key) => canonicalJson(one?.[key]) !== canonicalJson(other?.[key]))
}

interface Rewrite {
  readonly action: string
  readonly deleted: Deleted | undefined
  readonly expected: ExpectedVersion
  readonly want: (current: WorkflowDefinition) => WorkflowDefinition
}

const rewrite = async (
  tx: Queries,
  caller: Caller,
  workflowId: number,
  { action, deleted, expected, want }: Rewrite,
): Promise<StoredWorkflow> => {
  const { appId, actor } = caller
  const current = await locked(tx, appId, workflowId, deleted)
  checkVersion(expected, current)
  const wanted = want(current.definition)
  const changed = changedMembers(wanted, current.definition)
  const isBack = current.deletedAt !== null
  if (changed.length === 0 && !isBack) return current
  judge(wanted, current.definition, await databaseNowMs(tx))
  if (isBack) await workflows.undeleteWorkflow(tx, workflowId, wanted.name)
  const isWritten = await workflows.updateWorkflow(tx, workflowId, current.version, wanted)
  invariant(isWritten, 'a locked workflow keeps its version')
  if (changed.includes('schedule')) await updateWorkflowSchedule(tx, workflowId, wanted.schedule)
  // while it was deleted, others were saved without regard to it
  if (changed.includes('dag') || isBack) await placeDag(tx, appId, workflowId, wanted.dag)
  const told = isBack ? 'workflow.restore' : action
  await appendAudit(tx, { actor, appId, action: told, target: targetOf(workflowId), detail: { changed } })
  return workflows.writtenWorkflow(tx, appId, workflowId)
}

const remove = async (tx: Queries, caller: Caller, workflowId: number, expected: ExpectedVersion): Promise<void> => {
  const { appId, actor } = caller
  const current = await locked(tx, appId, workflowId)
  checkVersion(expected, current)
  const isGone = await workflows.softDeleteWorkflow(tx, workflowId, current.version)
  invariant(isGone, 'a locked workflow keeps its version')
  const detail = { name: current.definition.name }
  await appendAudit(tx, { actor, appId, action: 'workflow.delete', target: targetOf(workflowId), detail })
}

const copied = async (
  tx: Queries,
  caller: Caller,
  workflowId: number,
  { name, enabled, origin }: WorkflowCopy,
): Promise<StoredWorkflow> => {
  const { definition: source } = await locked(tx, caller.appId, workflowId)
  const nodes = await copyNodes(tx, source.dag.nodes)
  const copyOf = new Map(source.dag.nodes.map((id, at) => [id, nodes[at] ?? id]))
  const edges = source.dag.edges.map(({ from, to, property }) => ({
    from: copyOf.get(from) ?? from,
    to: copyOf.get(to) ?? to,
    property,
  }))
  const definition = { ...source, name, enabled, dag: { nodes, edges } }
  const detail = { name, from: targetOf(workflowId) }
  return insert(tx, caller, { origin, definition, action: 'workflow.copy', detail })
}

const namedOnce = async <T>(db: Db, work: (tx: Queries) => Promise<T>): Promise<T> => {
  try {
    return await transact(db, work)
  } catch (error) {
    // translated: the unique index is what decides
    if (isDatabaseError(error, '23505') && error.constraint === 'workflow_name') {
      throw new Refusal('NAME_TAKEN', 'Another workflow of this app has this name; choose another one.')
    }
    throw error
  }
}

export const createWorkflowsService = ({ db }: { readonly db: Db }): WorkflowsService => {
  const getOfHistory: WorkflowsService['getOfHistory'] = async (appId, workflowId) => {
    const found = await workflows.workflowById(db, appId, workflowId)
    if (found === undefined) throw notFound(workflowId)
    return found
  }
  return {
    getOfHistory,
    get: async (appId, workflowId) => {
      const found = await getOfHistory(appId, workflowId)
      if (found.deletedAt !== null) throw notFound(workflowId)
      return found
    },
    create: (caller, origin, definition) =>
      transact(db, async (tx) => {
        judge(definition, undefined, await databaseNowMs(tx))
        const detail = { name: definition.name }
        return insert(tx, caller, { origin, definition, action: 'workflow.create', detail })
      }),
    replace: (caller, workflowId, expected, want, deleted) =>
      namedOnce(db, (tx) => rewrite(tx, caller, workflowId, { action: 'workflow.update', deleted, expected, want })),
    remove: (caller, workflowId, expected) => transact(db, (tx) => remove(tx, caller, workflowId, expected)),
    setEnabled: (caller, workflowId, enabled, deleted) => {
      const action = enabled ? 'workflow.enable' : 'workflow.disable'
      const want = (current: WorkflowDefinition) => ({ ...current, enabled })
      return namedOnce(db, (tx) => rewrite(tx, caller, workflowId, { action, deleted, expected: '*', want }))
    },
    copy: (caller, workflowId, copy) => transact(db, (tx) => copied(tx, caller, workflowId, copy)),
    saveNodes: (caller, nodes) => transact(db, (tx) => saveNodes(tx, caller, nodes)),
  }
}
