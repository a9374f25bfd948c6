// The workflow calls of the wire (contract 6.8–6.11). Saving, reading, copying and switching work; runs of workflows do not yet.
import { Refusal } from '../../kernel/errors.ts'
import { databaseNowMs } from '../../storage/schedules-config.ts'
import { appOfWorkflow, type StoredWorkflow } from '../../storage/workflows.ts'
import type { WorkflowDefinition } from '../../workflows/definition.ts'
import { WorkflowInvalid } from '../../workflows/problems.ts'
import { callerOf, WireError, type Endpoint, type WireCall, type WireServices } from '../call.ts'
import { bodyFields, formLong, isFields } from '../jackson.ts'
import { definitionOf, nodeInfo, problemText, readNode, readWorkflow, workflowInfo } from '../workflow-codec.ts'

type Handle = Endpoint['handle']

const unknownWorkflow = (says: string): WireError => new WireError('IllegalArgumentException', says)

const missing = (id: number | null): WireError => unknownWorkflow(`can't find workflow by id: ${id}`)

/** The app's workflow, a deleted one too. @throws WireError when there is none, or it is another app's */
const owned = async (
  { appId }: WireCall,
  { db, workflows }: WireServices,
  id: number | null,
  unknown: WireError = missing(id),
): Promise<StoredWorkflow> => {
  if (id === null) throw unknown
  try {
    return await workflows.getOfHistory(appId, id)
  } catch (error) {
    // translated: this wire tells the two apart
    if (!(error instanceof Refusal) || error.code !== 'WORKFLOW_NOT_FOUND') throw error
    if ((await appOfWorkflow(db, id)) === undefined) throw unknown
    throw new WireError('PowerJobException', "Permission Denied! can't operate other app's workflow!")
  }
}

const named = (call: WireCall, services: WireServices): Promise<StoredWorkflow> =>
  owned(call, services, formLong(call, 'workflowId'))

/** What the service refuses, in the words of this wire. */
const inWireWords = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work
  } catch (error) {
    // translated
    if (error instanceof WorkflowInvalid) throw new WireError('PowerJobException', problemText(error.problem))
    if (error instanceof Refusal && error.code === 'WORKFLOW_NODE_NOT_FOUND') {
      throw unknownWorkflow(`can't find workflow Node by id: ${String(error.facts['nodeId'])}`)
    }
    throw error
  }
}

const saveWorkflow: Handle = async (call, services) => {
  const request = readWorkflow(bodyFields(call))
  const { id } = request
  const about = { zone: call.zone, nowMs: await databaseNowMs(services.db) }
  const caller = callerOf(call)
  if (id === null) {
    const definition = definitionOf(request, undefined, about)
    return (await inWireWords(services.workflows.create(caller, 'powerjob', definition))).id
  }
  const unknown = unknownWorkflow(`can't find workflow by id:${id}`)
  await owned(call, services, id, unknown)
  // saving brings a deleted one back, as it does with jobs
  const want = (current: WorkflowDefinition) => definitionOf(request, current, about)
  return (await inWireWords(services.workflows.replace(caller, id, '*', want, 'restored'))).id
}

const copyWorkflow: Handle = async (call, services) => {
  const { id, definition, deletedAt } = await named(call, services)
  if (deletedAt !== null) {
    throw new WireError('IllegalStateException', "can't copy the workflow which has been deleted!")
  }
  const copy = await services.workflows.copy(callerOf(call), id, {
    name: `${definition.name}_COPY`,
    enabled: call.settings.copyEnabled && definition.enabled,
    origin: 'powerjob',
  })
  return copy.id
}

const fetchWorkflow: Handle = async (call, services) => workflowInfo(call.appId, await named(call, services))

/** Again is fine. */
const deleteWorkflow: Handle = async (call, services) => {
  const { id, deletedAt } = await named(call, services)
  if (deletedAt === null) await services.workflows.remove(callerOf(call), id, '*')
  return null
}

/** A deleted one does not start as it is. */
const disableWorkflow: Handle = async (call, services) => {
  const { id, deletedAt } = await named(call, services)
  if (deletedAt === null) await services.workflows.setEnabled(callerOf(call), id, false)
  return null
}

/** Brings a deleted one back, as it does with jobs. */
const enableWorkflow: Handle = async (call, services) => {
  const { id } = await named(call, services)
  await inWireWords(services.workflows.setEnabled(callerOf(call), id, true, 'restored'))
  return null
}

const addWorkflowNode: Handle = async (call, services) => {
  const elements: readonly unknown[] = Array.isArray(call.body) ? call.body : []
  const inputs = elements.map((element) => {
    if (!isFields(element))
      throw new WireError('HttpMessageNotReadableException', 'JSON parse error: a node is an object')
    return readNode(element)
  })
  const saved = await inWireWords(services.workflows.saveNodes(callerOf(call), inputs))
  return saved.map((node) => nodeInfo(call.appId, node))
}

const noRunsYet = (): WireError =>
  new WireError(
    'PowerJobException',
    'workflow runs are not supported yet: workflows can be saved, fetched, copied and switched; nothing was started or changed',
  )

const runWorkflow: Handle = async (call, services) => {
  const { id, deletedAt } = await named(call, services)
  if (deletedAt !== null) throw missing(id)
  throw noRunsYet()
}

/** The numbers are read, so that a call that is wrong in itself hears that first. */
const onInstance: Handle = async (call) => {
  formLong(call, 'wfInstanceId')
  formLong(call, 'nodeId')
  throw noRunsYet()
}

const form = (path: string, mutates: boolean, handle: Handle): Endpoint => ({
  path,
  accepts: 'form',
  mutates,
  app: 'appId',
  handle,
})

export const workflowEndpoints: readonly Endpoint[] = [
  { path: '/saveWorkflow', accepts: 'json', mutates: true, app: 'appId', handle: saveWorkflow },
  form('/copyWorkflow', true, copyWorkflow),
  form('/fetchWorkflow', false, fetchWorkflow),
  form('/deleteWorkflow', true, deleteWorkflow),
  form('/disableWorkflow', true, disableWorkflow),
  form('/enableWorkflow', true, enableWorkflow),
  { path: '/addWorkflowNode', accepts: 'json', mutates: true, app: 'first-element', handle: addWorkflowNode },
  form('/runWorkflow', true, runWorkflow),
  form('/stopWfInstance', true, onInstance),
  form('/retryWfInstance', true, onInstance),
  form('/markWorkflowNodeAsSuccess', true, onInstance),
  form('/fetchWfInstanceInfo', false, onInstance),
]
