// How the state of a run looks.
import type { RunState } from '@oncejob/protocol'
import type { Style } from './output.ts'

const stateStyles: Record<RunState, Style> = {
  waiting: 'dim',
  running: 'cyan',
  unknown: 'yellow',
  succeeded: 'green',
  failed: 'red',
  canceled: 'yellow',
  stopped: 'yellow',
}

export const styleOfState = (state: RunState): Style => stateStyles[state]
