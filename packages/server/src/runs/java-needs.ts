// What a job of the PowerJob wire asks of its workers beyond what every job does: read from what that wire keeps beside it.
import type { JavaNeeds } from './eligibility.ts'
import type { JobDefinition } from './job-definition.ts'

const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined

/** Whether a worker of that wire repeats the job by itself within one long run. */
export const isFrequent = ({ schedule }: JobDefinition): boolean =>
  schedule.trigger.kind === 'fixed-rate' || schedule.trigger.kind === 'fixed-delay'

/** @param powerjob what is kept beside the definition: parts that the columns cannot give back */
export const javaNeedsOf = (definition: JobDefinition, powerjob: unknown): Omit<JavaNeeds, 'tagSubstring'> => {
  const words = member(powerjob, 'dispatchStrategyConfig')
  // the native API may have chosen another strategy since
  const specifies =
    member(powerjob, 'dispatchStrategy') === 'SPECIFY' &&
    definition.workers.strategy === 'random' &&
    typeof words === 'string'
  return {
    only: definition.mode !== 'standalone' || definition.processorType === 'external',
    frequent: isFrequent(definition),
    specify: specifies && words.trim() !== '' ? words : null,
  }
}
