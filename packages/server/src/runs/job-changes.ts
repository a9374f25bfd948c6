// What differs between two definitions of a job, as JSON pointers.
import type { JobDefinition } from './job-definition.ts'

/** One difference: where, the wanted value and the current one. */
export interface Change {
  /** JSON pointer, e.g. /retry/max */
  readonly path: string
  readonly yours: unknown
  readonly current: unknown
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** JSON with sorted keys: two values are the same exactly when their canonical texts are. */
export const canonicalJson = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value) ?? 'null'
  const members = Object.keys(value)
    .filter((key) => value[key] !== undefined)
    .toSorted()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`)
  return `{${members.join(',')}}`
}

// shown and compared whole: half of a trigger or of someone's parameters says nothing
const whole = new Set(['/params', '/schedule/trigger', '/alarm'])

const escaped = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1')

const differences = (yours: unknown, current: unknown, path: string): Change[] => {
  if (canonicalJson(yours) === canonicalJson(current)) return []
  if (!isObject(yours) || !isObject(current) || whole.has(path))
    return [{ path, yours: yours ?? null, current: current ?? null }]
  const keys = [...new Set([...Object.keys(yours), ...Object.keys(current)])]
  return keys.flatMap((key) => differences(yours[key], current[key], `${path}/${escaped(key)}`))
}

/** Every difference between the definition that someone wants and the current one; empty when they mean the same. */
export const changesBetween = (yours: JobDefinition, current: JobDefinition): Change[] =>
  differences(yours, current, '')
