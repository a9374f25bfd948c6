// Tables legacy_attempt, legacy_token, legacy_path: what is too old to be evidence goes. See resends.ts.
import type { Queries } from './db.ts'
import { sql } from './sql.ts'

/**
 * Forgets attempts with their request keys, at most `limit`: evidence after ten minutes, what only waited for its answer to
 * get out after half a minute. Returns how many.
 */
export const sweepAttempts = async (queries: Queries, limit: number): Promise<number> => {
  const rows = await queries.query<{ id: number }>(sql`
with old as (
  select id from oncejob.legacy_attempt
  where started_at < clock_timestamp() - interval '30 s' and (path_key is null or started_at < clock_timestamp() - interval '10 min')
  order by started_at limit ${limit} for update skip locked
), gone as (
  delete from oncejob.legacy_attempt a using old where a.id = old.id returning a.id, a.app_id
), keys as (
  delete from oncejob.request_key k using gone where k.app_id = gone.app_id and k.key = 'powerjob attempt ' || gone.id
)
select id from gone`)
  return rows.length
}

/** Forgets tokens after ten minutes, at most `limit`: an unused one counts as used from then on. Returns how many. */
export const sweepTokens = async (queries: Queries, limit: number): Promise<number> => {
  const rows = await queries.query<{ jti: string }>(sql`
delete from oncejob.legacy_token t using (
  select jti from oncejob.legacy_token where issued_at < clock_timestamp() - interval '10 min'
  order by issued_at limit ${limit} for update skip locked
) old where t.jti = old.jti returning t.jti`)
  return rows.length
}

/** Forgets paths over which no repeat has come for thirty days. */
export const sweepPaths = async (queries: Queries): Promise<void> => {
  await queries.query(sql`delete from oncejob.legacy_path where doubled_at < clock_timestamp() - interval '30 days'`)
}
