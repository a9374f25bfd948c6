// What differs between a recorded answer and ours, once ids, times and tokens have been mapped.
import { dataKindOf, kindOf, type Ids } from './golden-ids.ts'

export interface Difference {
  /** Number of the call in the recording. */
  readonly call: number
  /** JSON pointer into the answer, or `header` or `status`. */
  readonly at: string
  readonly recorded: unknown
  /** With recorded ids in the place of ours. */
  readonly ours: unknown
}

export const absent = '(absent)'

type Json = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

const dateKeys = new Set(['gmtCreate', 'gmtModified'])
const msKeys = new Set(['expectedTriggerTime', 'actualTriggerTime', 'finishedTime', 'nextTriggerTime'])
const far = Date.UTC(2030, 0, 1)
const isoDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/
const exportName = /_EXPORT_\d{13}$/

/** Whether two values of these members mean the same in different years; undefined: they are compared as they are. */
const sameTime = (key: string, recorded: unknown, ours: unknown): boolean | undefined => {
  if (dateKeys.has(key)) return [recorded, ours].every((value) => typeof value === 'string' && isoDate.test(value))
  if (!msKeys.has(key) || typeof recorded !== 'number' || typeof ours !== 'number') return undefined
  // a date that was far ahead then still is, and is the same
  return recorded < far && Number.isInteger(ours) ? true : undefined
}

/** Values that stand for all of their kind. */
const plain = (key: string, value: unknown): unknown => {
  if (key === 'token' && typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)) return '(a token)'
  if (msKeys.has(key) && typeof value === 'number' && value < far) return '(a time)'
  return key === 'jobName' && typeof value === 'string' ? value.replace(exportName, '_EXPORT_(ms)') : value
}

export interface Compared {
  readonly call: number
  readonly path: string
  readonly ids: Ids
}

const identityOf = (item: unknown): string | undefined =>
  isObject(item)
    ? ['instanceId', 'nodeId', 'id'].find((key) => item[key] !== undefined && item[key] !== null)
    : undefined

/** Lists of things with ids are compared thing by thing when their order differs. */
const compareLists = (
  about: Compared,
  at: string,
  recorded: readonly unknown[],
  ours: readonly unknown[],
): Difference[] => {
  const { ids, path, call } = about
  const key = identityOf(recorded[0] ?? ours[0])
  const kind = key === undefined ? undefined : kindOf(path, key)
  const asRecorded = (item: unknown): string => (isObject(item) && kind ? ids.recorded(kind, item[key ?? '']) : '')
  const theirs = recorded.map((item) => (isObject(item) ? String(item[key ?? '']) : ''))
  // ids that are seen here for the first time can only be known by their place
  const isNew = kind !== undefined && theirs.some((id) => ids.ours(kind, id) === undefined)
  const mine = ours.map(asRecorded)
  if (kind !== undefined && !isNew && theirs.join() !== mine.join()) {
    const pairs = recorded.flatMap((item, index) => {
      const other = mine.indexOf(theirs[index] ?? '')
      return other < 0 ? [] : [compare(about, `${at}/${index}`, item, ours[other])]
    })
    return [{ call, at, recorded: theirs.join(), ours: mine.join() }, ...pairs.flat()]
  }
  const lengths =
    recorded.length === ours.length ? [] : [{ call, at: `${at}/length`, recorded: recorded.length, ours: ours.length }]
  const common = recorded
    .slice(0, ours.length)
    .flatMap((item, index) => compare(about, `${at}/${index}`, item, ours[index]))
  return [...lengths, ...common]
}

const compareObjects = (about: Compared, at: string, recorded: Json, ours: Json): Difference[] => {
  const { call } = about
  const keys = [...new Set([...Object.keys(recorded), ...Object.keys(ours)])]
  const members = keys.flatMap((key) => {
    const [theirs, mine] = [
      Object.hasOwn(recorded, key) ? recorded[key] : absent,
      Object.hasOwn(ours, key) ? ours[key] : absent,
    ]
    return compare(about, `${at}/${key}`, theirs, mine)
  })
  const shared = (one: Json, other: Json): string =>
    Object.keys(one)
      .filter((key) => Object.hasOwn(other, key))
      .join()
  const [theirs, mine] = [shared(recorded, ours), shared(ours, recorded)]
  return theirs === mine ? members : [...members, { call, at: `${at} (order)`, recorded: theirs, ours: mine }]
}

const compareValues = (about: Compared, at: string, recorded: unknown, ours: unknown): Difference[] => {
  const { call, path, ids } = about
  const key = at.slice(at.lastIndexOf('/') + 1)
  const kind = at === '/data' ? dataKindOf(path) : kindOf(path, key)
  const isId = typeof recorded === 'number' || typeof recorded === 'string'
  if (kind !== undefined && isId && typeof ours === 'number') {
    ids.learn(kind, recorded, ours)
    const [theirs, mine] = [String(recorded), ids.recorded(kind, ours)]
    return mine === theirs ? [] : [{ call, at, recorded: theirs, ours: mine }]
  }
  if (sameTime(key, recorded, ours) === true) return []
  const [theirs, mine] = [plain(key, recorded), plain(key, ours)]
  return Object.is(theirs, mine) ? [] : [{ call, at, recorded: theirs, ours: mine }]
}

/** Every difference of two JSON values, in the order of the recorded one. Learns the ids of what it sees for the first time. */
export const compare = (about: Compared, at: string, recorded: unknown, ours: unknown): Difference[] => {
  if (Array.isArray(recorded) && Array.isArray(ours)) return compareLists(about, at, recorded, ours)
  if (isObject(recorded) && isObject(ours)) return compareObjects(about, at, recorded, ours)
  return compareValues(about, at, recorded, ours)
}

/** Two envelopes: where one is a success and the other is not, that is the difference, and the rest follows from it. */
export const compareAnswers = (about: Compared, recorded: unknown, ours: unknown): Difference[] => {
  if (!isObject(recorded) || !isObject(ours) || recorded['success'] === ours['success']) {
    return compare(about, '', recorded, ours)
  }
  const told = (answer: Json): unknown => (answer['success'] === true ? true : answer['message'])
  return [{ call: about.call, at: '/success', recorded: told(recorded), ours: told(ours) }]
}
