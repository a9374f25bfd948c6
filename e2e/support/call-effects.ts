// Counts what keyed calls have left in the database, and compares it with what they must have left: all of it, once.
import assert from 'node:assert/strict'
import { sql } from '@oncejob/server/testing'
import type { Told } from './keyed-calls.ts'
import type { Place } from './places.ts'
import { appName } from './fleet.ts'
import type { Expected } from './stories.ts'

interface Found {
  readonly audit: { said: string }[]
  readonly runs: { id: number; job_id: number; state: string; request_key: string | null }[]
  readonly jobs: { id: number; name: string; version: number; enabled: boolean; deleted: boolean }[]
  readonly namespaces: { name: string }[]
  readonly apps: { name: string; title: string | null }[]
  readonly containers: { id: number; name: string }[]
  readonly tokens: { id: number; revoked: boolean }[]
  readonly keys: { key: string; route: string; status: number }[]
}

/** What was there before the first call. */
export interface Before {
  readonly auditId: number
  readonly tokenId: number
  readonly keys: readonly string[]
}

const idle = sql`select id from oncejob.job where processor <> 'work'`

const last = sql`
  select (select coalesce(max(id), 0) from oncejob.audit)::int as "auditId",
    (select coalesce(max(id), 0) from oncejob.api_token)::int as "tokenId",
    (select coalesce(array_agg(key), '{}') from oncejob.request_key) as keys`

export const lookBefore = async (place: Place): Promise<Before> => {
  const [row] = await place.look((queries) => queries.query<Before>(last))
  if (row === undefined) throw new Error('a select without from has one row')
  return row
}

const lookAfter = (place: Place, { auditId, tokenId, keys }: Before): Promise<Found> =>
  place.look(async (queries) => ({
    audit: await queries.query(sql`select action || ' ' || target as said from oncejob.audit where id > ${auditId}`),
    runs: await queries.query(sql`select id, job_id, state, request_key from oncejob.run where job_id in (${idle})`),
    jobs: await queries.query(
      sql`select id, name, version, enabled, deleted_at is not null as deleted from oncejob.job where processor <> 'work'`,
    ),
    namespaces: await queries.query(sql`select name from oncejob.namespace where name <> 'default'`),
    apps: await queries.query(sql`select name, title from oncejob.app where name <> ${appName}`),
    containers: await queries.query(sql`select id, name from oncejob.container`),
    tokens: await queries.query(
      sql`select id, revoked_at is not null as revoked from oncejob.api_token where id > ${tokenId}`,
    ),
    keys: await queries.query(sql`
      select key, route, status::int as status from oncejob.request_key
      where key <> all(${[...keys]}::text[])
        and key not in (select request_key from oncejob.run where request_key is not null and job_id not in (${idle}))`),
  }))

const countsOf = (texts: Iterable<string>): Map<string, number> => {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return counts
}

/** The first differences of two collections, as words. */
const differences = (found: Iterable<string>, wanted: Iterable<string>): string[] => {
  const [have, want] = [countsOf(found), countsOf(wanted)]
  return [...new Set([...have.keys(), ...want.keys()])]
    .filter((text) => have.get(text) !== want.get(text))
    .slice(0, 10)
    .map((text) => `${text}: ${have.get(text) ?? 0} times instead of ${want.get(text) ?? 0}`)
}

const same = (what: string, found: Iterable<string>, wanted: Iterable<string>): void =>
  assert.deepEqual(differences(found, wanted), [], `${what}: an effect too many or too few`)

const says = (value: object): string => JSON.stringify(Object.values(value))

export interface Effects {
  readonly audit: number
  readonly runs: number
  readonly jobs: number
  readonly keys: number
}

interface Proof {
  readonly told: readonly Told[]
  readonly expected: Expected
  /** False when some keys are older than their window by now, and may be gone. */
  readonly keysKept?: boolean
}

/**
 * Every call has had its effect once, and nobody has done anything else. Jobs of the processor `work`, which are not of the
 * stories, are left out, with their runs.
 */
export const proveEffects = async (
  place: Place,
  before: Before,
  { told, expected, keysKept = true }: Proof,
): Promise<Effects> => {
  const found = await lookAfter(place, before)
  same(
    'audit trail',
    found.audit.map(({ said }) => said),
    expected.audit,
  )
  same(
    'jobs',
    found.jobs.map(says),
    [...expected.jobs].map(([id, job]) => says({ id, ...job })),
  )
  same(
    'runs by their state',
    found.runs.map(({ id, state }) => `${id} ${state}`),
    [...expected.runs].map(([id, state]) => `${id} ${state}`),
  )
  same(
    'runs by the key that asked for them',
    found.runs.map((run) => run.request_key ?? `run ${run.id} of no key`),
    told.flatMap(({ key, runs }) => Array.from({ length: runs }, () => key)),
  )
  same(
    'runs by job',
    found.runs.map((run) => String(run.job_id)),
    [...expected.runsOfJob].flatMap(([id, count]) => Array.from({ length: count }, () => String(id))),
  )
  same(
    'namespaces',
    found.namespaces.map(({ name }) => name),
    expected.namespaces,
  )
  same(
    'apps',
    found.apps.map(says),
    [...expected.apps].map(([name, title]) => says({ name, title })),
  )
  same(
    'containers',
    found.containers.map(says),
    [...expected.containers].map(([id, name]) => says({ id, name })),
  )
  same(
    'tokens',
    found.tokens.map(says),
    [...expected.tokens].map(([id, revoked]) => says({ id, revoked })),
  )
  // a key is there for each call that took effect, with its answer, and for no refusal
  const done = told.filter(({ refused }) => !refused)
  const kept = new Set(found.keys.map(({ key }) => key))
  same(
    'request keys',
    found.keys.map(({ key, status }) => `${key} ${status}`),
    done.flatMap(({ key, status }) => (keysKept || kept.has(key) ? [`${key} ${status}`] : [])),
  )
  return { audit: found.audit.length, runs: found.runs.length, jobs: found.jobs.length, keys: found.keys.length }
}
