// Lists of jobs: filters, orders and pages.
import type { Trigger } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { queryJobs, selectJobs, type StoredJob } from './jobs.ts'
import { all, sql, type Sql } from './sql.ts'

/** What a list of jobs is narrowed to; undefined members do not narrow. */
export interface JobFilter {
  /** Text that occurs in name, description, tag or processor, in whatever case. */
  readonly q?: string | undefined
  readonly name?: string | undefined
  readonly enabled?: boolean | undefined
  readonly tag?: string | undefined
  readonly processor?: string | undefined
  readonly kind?: Trigger['kind'] | undefined
}

export const jobSorts = ['id', '-id', 'name', '-name', 'updatedAt', '-updatedAt', 'nextFireAt'] as const
export type JobSort = (typeof jobSorts)[number]

/** Where a page begins: behind the item with this sort key and id. */
export interface JobKey {
  /** Text of the sort key; null when the list is sorted by id. */
  readonly value: string | null
  readonly id: number
}

const narrowing = (filter: JobFilter): Sql[] => {
  const conditions: Sql[] = []
  if (filter.name !== undefined) conditions.push(sql`j.name = ${filter.name}`)
  if (filter.enabled !== undefined) conditions.push(sql`j.enabled = ${filter.enabled}`)
  if (filter.tag !== undefined) conditions.push(sql`j.tag = ${filter.tag}`)
  if (filter.processor !== undefined) conditions.push(sql`j.processor = ${filter.processor}`)
  if (filter.kind !== undefined) conditions.push(sql`s.kind = ${filter.kind}`)
  if (filter.q !== undefined) {
    // the backslash is like's escape: what people type has no wildcards
    const pattern = `%${filter.q.replaceAll(/[\\%_]/g, '\\$&')}%`
    conditions.push(
      sql`(j.name ilike ${pattern} or j.description ilike ${pattern} or j.tag ilike ${pattern} or j.processor ilike ${pattern})`,
    )
  }
  return conditions
}

const orderOf = (sort: JobSort): Sql => {
  switch (sort) {
    case 'id':
      return sql`j.id`
    case '-id':
      return sql`j.id desc`
    case 'name':
      return sql`j.name, j.id`
    case '-name':
      return sql`j.name desc, j.id desc`
    case 'updatedAt':
      return sql`j.updated_at, j.id`
    case '-updatedAt':
      return sql`j.updated_at desc, j.id desc`
    case 'nextFireAt':
      return sql`coalesce(s.next_fire_at, 'infinity'), j.id`
  }
}

const behind = (sort: JobSort, { value, id }: JobKey): Sql => {
  switch (sort) {
    case 'id':
      return sql`j.id > ${id}`
    case '-id':
      return sql`j.id < ${id}`
    case 'name':
      return sql`(j.name, j.id) > (${value}::text, ${id})`
    case '-name':
      return sql`(j.name, j.id) < (${value}::text, ${id})`
    case 'updatedAt':
      return sql`(j.updated_at, j.id) > (${value}::timestamptz, ${id})`
    case '-updatedAt':
      return sql`(j.updated_at, j.id) < (${value}::timestamptz, ${id})`
    case 'nextFireAt':
      return sql`(coalesce(s.next_fire_at, 'infinity'), j.id) > (coalesce(${value}::timestamptz, 'infinity'), ${id})`
  }
}

/** The key of an item in a list that is sorted so. */
export const jobKeyOf = (sort: JobSort, job: StoredJob): JobKey => {
  switch (sort) {
    case 'id':
    case '-id':
      return { value: null, id: job.id }
    case 'name':
    case '-name':
      return { value: job.definition.name, id: job.id }
    case 'updatedAt':
    case '-updatedAt':
      return { value: job.updatedAt.toISOString(), id: job.id }
    case 'nextFireAt':
      return { value: job.nextFireAt?.toISOString() ?? null, id: job.id }
  }
}

export interface JobListing {
  readonly filter: JobFilter
  readonly sort: JobSort
  readonly after: JobKey | undefined
  readonly limit: number
}

/** One page of the jobs of an app that are not deleted; those that never fire come last when sorted by their next fire. */
export const listJobs = (db: Queries, appId: number, listing: JobListing): Promise<StoredJob[]> => {
  const conditions = [sql`j.app_id = ${appId}`, sql`j.deleted_at is null`, ...narrowing(listing.filter)]
  if (listing.after !== undefined) conditions.push(behind(listing.sort, listing.after))
  const order = orderOf(listing.sort)
  // the page is found by narrow rows; only its own are read whole
  const page = sql`
    select j.id from oncejob.job j join oncejob.schedule s on s.job_id = j.id
    where ${all(conditions)} order by ${order} limit ${listing.limit}`
  return queryJobs(db, sql`${selectJobs} where j.id in (${page}) order by ${order}`)
}
