// Where our answers differ from the recorded ones, and which row of docs/from-powerjob.md says why.
import type { Difference } from './golden-compare.ts'

/** One difference, and the row of the table that gives its reason. */
export interface Listed extends Difference {
  readonly row: number
}

const noWorkflowRuns =
  'PowerJobException: workflow runs are not supported yet: workflows can be saved, fetched, copied and switched; nothing was started or changed'

/** In the order of the calls. A difference that is not listed fails the replay, and so does one that is listed and does not occur. */
export const differences: readonly Listed[] = [
  { call: 74, at: '/data/result', recorded: 'done again', ours: 'done', row: 1 },
  { call: 77, at: '/success', recorded: true, ours: "IllegalArgumentException: can't find job by jobId: 9", row: 2 },
  {
    call: 82,
    at: '/data/data',
    recorded: '1004656552407203904,1004656566147743808,1004656571461926976',
    ours: '1004656572036546624,1004656571461926976,1004656566147743808',
    row: 3,
  },
  { call: 83, at: '/data/totalItems', recorded: 9, ours: 8, row: 2 },
  {
    call: 84,
    at: '/message',
    recorded: "PropertyReferenceException: No property 'nope' found for type 'InstanceInfoDO'; Did you mean 'type'",
    ours: "PropertyReferenceException: No property 'nope' found for type 'InstanceInfoDO'",
    row: 4,
  },
  { call: 111, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  { call: 112, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  {
    call: 113,
    at: '/message',
    recorded: 'PowerJobException: workflow instance is running',
    ours: noWorkflowRuns,
    row: 6,
  },
  { call: 114, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  { call: 115, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  {
    call: 116,
    at: '/message',
    recorded: "PowerJobException: can't find the node in current DAG!",
    ours: noWorkflowRuns,
    row: 6,
  },
  { call: 117, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  { call: 118, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  {
    call: 119,
    at: '/message',
    recorded: 'PowerJobException: workflow instance already stopped',
    ours: noWorkflowRuns,
    row: 6,
  },
  { call: 120, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  { call: 121, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  { call: 122, at: '/success', recorded: true, ours: noWorkflowRuns, row: 6 },
  {
    call: 123,
    at: '/message',
    recorded: "IllegalArgumentException: can't find workflow instance by wfInstanceId: 5",
    ours: noWorkflowRuns,
    row: 6,
  },
  { call: 125, at: '/data/data/0/finishedTime', recorded: null, ours: '(a time)', row: 7 },
  { call: 127, at: '/data/data/0/finishedTime', recorded: null, ours: '(a time)', row: 7 },
]
