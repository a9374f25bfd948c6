// The queries of this wire (contract 4.3, 4.4, 6.4): their bodies as conditions; what they leave out narrows nothing.
import type { WireJobFilter } from '../storage/powerjob-jobs.ts'
import { wireRunSorts, type WireRunFilter, type WireRunSort } from '../storage/powerjob-runs.ts'
import { WireError } from './call.ts'
import { asBoolean, asDate, asInt, asList, asLong, asText, field, type Fields } from './jackson.ts'

const codesIn = (fields: Fields, name: string): number[] | undefined =>
  field(fields, name, asList(asInt))?.filter((code) => code !== null)

/** JobInfoQuery. @throws WireError */
export const readJobQuery = (fields: Fields, appId: number): WireJobFilter => {
  const text = (name: string): string | undefined => field(fields, name, asText) ?? undefined
  const long = (name: string): number | undefined => field(fields, name, asLong) ?? undefined
  const date = (name: string): number | undefined => field(fields, name, asDate) ?? undefined
  return {
    appId,
    idEq: long('idEq'),
    idLt: long('idLt'),
    idGt: long('idGt'),
    jobNameEq: text('jobNameEq'),
    jobNameLike: text('jobNameLike'),
    jobDescriptionLike: text('jobDescriptionLike'),
    jobParamsLike: text('jobParamsLike'),
    timeExpressionTypeIn: codesIn(fields, 'timeExpressionTypeIn'),
    executeTypeIn: codesIn(fields, 'executeTypeIn'),
    processorTypeIn: codesIn(fields, 'processorTypeIn'),
    statusIn: codesIn(fields, 'statusIn'),
    processorInfoEq: text('processorInfoEq'),
    processorInfoLike: text('processorInfoLike'),
    notifyUserIdsLike: text('notifyUserIdsLike'),
    // an epoch time: the same range as a date
    nextTriggerTimeGt: date('nextTriggerTimeGt'),
    nextTriggerTimeLt: date('nextTriggerTimeLt'),
    gmtCreateLt: date('gmtCreateLt'),
    gmtCreateGt: date('gmtCreateGt'),
    gmtModifiedLt: date('gmtModifiedLt'),
    gmtModifiedGt: date('gmtModifiedGt'),
    dispatchStrategyEq: field(fields, 'dispatchStrategyEq', asInt) ?? undefined,
    tagEq: text('tagEq'),
  }
}

export interface InstancePage {
  readonly filter: WireRunFilter
  /** Zero-based. */
  readonly index: number
  readonly pageSize: number
  readonly sortBy: WireRunSort | null
  readonly ascending: boolean
}

const illegal = (says: string): never => {
  throw new WireError('IllegalArgumentException', says)
}

const readSort = (name: string | null): WireRunSort | null => {
  if (name === null || name === '') return null
  const known = wireRunSorts.find((one) => one === name)
  if (known !== undefined) return known
  throw new WireError('PropertyReferenceException', `No property '${name}' found for type 'InstanceInfoDO'`)
}

/** InstancePageQuery. @throws WireError */
export const readInstanceQuery = (fields: Fields, appId: number): InstancePage => {
  const long = (name: string): number | undefined => field(fields, name, asLong) ?? undefined
  const date = (name: string): number | undefined => field(fields, name, asDate) ?? undefined
  const index = field(fields, 'index', asInt) ?? 0
  // primitives: null is 0
  const pageSize = field(fields, 'pageSize', (value, name) => (value === undefined ? 10 : (asInt(value, name) ?? 0)))
  const filter: WireRunFilter = {
    appId,
    instanceIdEq: long('instanceIdEq'),
    instanceIdLt: long('instanceIdLt'),
    instanceIdGt: long('instanceIdGt'),
    jobIdEq: long('jobIdEq'),
    statusIn: codesIn(fields, 'statusIn'),
    gmtCreateLt: date('gmtCreateLt'),
    gmtCreateGt: date('gmtCreateGt'),
    gmtModifiedLt: date('gmtModifiedLt'),
    gmtModifiedGt: date('gmtModifiedGt'),
  }
  const ascending = field(fields, 'asc', asBoolean(false))
  const sortName = field(fields, 'sortBy', asText)
  if (index < 0) illegal('Page index must not be less than zero')
  if (pageSize < 1) illegal('Page size must not be less than one')
  return { filter, index, pageSize, sortBy: readSort(sortName), ascending }
}
