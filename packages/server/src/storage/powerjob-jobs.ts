// Jobs as the PowerJob wire asks for them: every condition of its queryJob, deleted jobs included.
import type { Queries } from './db.ts'
import { queryJobs, selectJobs, type StoredJob } from './jobs.ts'
import { all, instant, sql, type Sql } from './sql.ts'

/** Conditions that all have to hold; undefined members narrow nothing. Codes are those of the wire, times ms since the epoch. */
export interface WireJobFilter {
  readonly appId: number
  readonly idEq?: number | undefined
  readonly idLt?: number | undefined
  readonly idGt?: number | undefined
  readonly jobNameEq?: string | undefined
  readonly jobNameLike?: string | undefined
  readonly jobDescriptionLike?: string | undefined
  readonly jobParamsLike?: string | undefined
  readonly timeExpressionTypeIn?: readonly number[] | undefined
  readonly executeTypeIn?: readonly number[] | undefined
  readonly processorTypeIn?: readonly number[] | undefined
  readonly statusIn?: readonly number[] | undefined
  readonly processorInfoEq?: string | undefined
  readonly processorInfoLike?: string | undefined
  readonly notifyUserIdsLike?: string | undefined
  readonly nextTriggerTimeGt?: number | undefined
  readonly nextTriggerTimeLt?: number | undefined
  readonly gmtCreateLt?: number | undefined
  readonly gmtCreateGt?: number | undefined
  readonly gmtModifiedLt?: number | undefined
  readonly gmtModifiedGt?: number | undefined
  readonly dispatchStrategyEq?: number | undefined
  readonly tagEq?: string | undefined
}

// what stands beside the definition counts as far as it fits it, as in powerjob/job-codec.ts
const timeExpressionType = sql`case s.kind
  when 'none' then case when j.powerjob ->> 'timeExpressionType' = 'WORKFLOW' then 5 else 1 end
  when 'fixed-rate' then 3 when 'fixed-delay' then 4 when 'daily' then 11 else 2 end`
const executeType = sql`case j.mode when 'standalone' then 1 when 'broadcast' then 2 when 'map-reduce' then 3 else 4 end`
const processorType = sql`case when j.processor_type = 'external' then 4
  when j.powerjob ->> 'processorType' = 'SHELL' then 2 when j.powerjob ->> 'processorType' = 'PYTHON' then 3 else 1 end`
const status = sql`case when j.deleted_at is not null then 99 when j.enabled then 1 else 2 end`
const dispatchStrategy = sql`case when j.strategy <> 'random' then 1
  when j.powerjob ->> 'dispatchStrategy' = 'SPECIFY' then 11 else 2 end`
const nextTriggerTime = sql`case when s.kind not in ('fixed-rate', 'fixed-delay') then s.next_fire_at end`
const notifyUserIds = sql`array_to_string(j.notify, ',')`
// the plain text of a JSON string; what holds an escape that no text of the database can have is compared as JSON
const jobParams = sql`case when j.params ~ '^"' and j.params !~* '\\\\u(0000|d[89a-f])' then j.params::json #>> '{}' else j.params end`

/** A pattern that is open at both ends; what stands in it stays a wildcard, and nothing escapes. */
const like = (column: Sql, text: string): Sql => {
  const pattern = `${text.startsWith('%') ? '' : '%'}${text}${text.endsWith('%') ? '' : '%'}`
  return sql`${column} like ${pattern} escape ''`
}

const anyOf = (column: Sql, codes: readonly number[]): Sql => sql`${column} = any(${[...codes]}::int[])`

const conditionsOf = (filter: WireJobFilter): Sql[] => {
  const conditions = [sql`j.app_id = ${filter.appId}`]
  const when = <T>(value: T | undefined, condition: (value: T) => Sql): void => {
    if (value !== undefined) conditions.push(condition(value))
  }
  when(filter.idEq, (id) => sql`j.id = ${id}`)
  when(filter.idLt, (id) => sql`j.id < ${id}`)
  when(filter.idGt, (id) => sql`j.id > ${id}`)
  when(filter.jobNameEq, (text) => sql`j.name = ${text}`)
  when(filter.jobNameLike, (text) => like(sql`j.name`, text))
  when(filter.jobDescriptionLike, (text) => like(sql`j.description`, text))
  when(filter.jobParamsLike, (text) => like(jobParams, text))
  when(filter.timeExpressionTypeIn, (codes) => anyOf(timeExpressionType, codes))
  when(filter.executeTypeIn, (codes) => anyOf(executeType, codes))
  when(filter.processorTypeIn, (codes) => anyOf(processorType, codes))
  when(filter.statusIn, (codes) => anyOf(status, codes))
  when(filter.processorInfoEq, (text) => sql`j.processor = ${text}`)
  when(filter.processorInfoLike, (text) => like(sql`j.processor`, text))
  when(filter.notifyUserIdsLike, (text) => like(notifyUserIds, text))
  when(filter.nextTriggerTimeGt, (atMs) => sql`${nextTriggerTime} > ${instant(atMs)}`)
  when(filter.nextTriggerTimeLt, (atMs) => sql`${nextTriggerTime} < ${instant(atMs)}`)
  when(filter.gmtCreateLt, (atMs) => sql`j.created_at < ${instant(atMs)}`)
  when(filter.gmtCreateGt, (atMs) => sql`j.created_at > ${instant(atMs)}`)
  when(filter.gmtModifiedLt, (atMs) => sql`j.updated_at < ${instant(atMs)}`)
  when(filter.gmtModifiedGt, (atMs) => sql`j.updated_at > ${instant(atMs)}`)
  when(filter.dispatchStrategyEq, (code) => sql`${dispatchStrategy} = ${code}::int`)
  when(filter.tagEq, (text) => sql`j.tag = ${text}`)
  return conditions
}

/** Jobs in the order of their ids, at most `limit`. */
export const queryWireJobs = (db: Queries, filter: WireJobFilter, limit: number): Promise<StoredJob[]> =>
  queryJobs(db, sql`${selectJobs} where ${all(conditionsOf(filter))} order by j.id limit ${limit}`)
