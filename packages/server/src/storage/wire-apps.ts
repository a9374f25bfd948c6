// Apps as the wire of PowerJob's clients needs them, and the key that signs its tokens.
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** How an app authenticates and behaves on that wire. */
export interface WireApp {
  readonly id: number
  readonly name: string
  /** Slow hash of the password; null: the app has none. */
  readonly passwordHash: string | null
  /** Counts up with every change of the password. */
  readonly passwordVersion: number
  readonly tokenless: boolean
  readonly copyEnabled: boolean
  readonly collapse: 'evidence' | 'off'
  readonly keysRequired: boolean
  /** Networks and hosts in which its Java workers must be; none: each is taken at the address that it is seen at. */
  readonly workerNetworks: readonly string[]
}

const view: Sql = sql`
  select id, name, password_hash as "passwordHash", password_version as "passwordVersion", powerjob_tokenless as tokenless,
    powerjob_copy_enabled as "copyEnabled", powerjob_collapse as collapse, require_request_keys as "keysRequired",
    powerjob_worker_networks as "workerNetworks"
  from oncejob.app`

/** The app with this name. */
export const findWireApp = async (db: Queries, name: string): Promise<WireApp | undefined> => {
  const [row] = await db.query<WireApp>(sql`${view} where name = ${name}`)
  return row
}

/** The app with this id. */
export const findWireAppById = async (db: Queries, id: number): Promise<WireApp | undefined> => {
  const [row] = await db.query<WireApp>(sql`${view} where id = ${id}`)
  return row
}

/** Apps that were made less strict than the default, by name. */
export const listLooseApps = (db: Queries): Promise<Pick<WireApp, 'name' | 'tokenless' | 'collapse'>[]> =>
  db.query(sql`
    select name, powerjob_tokenless as tokenless, powerjob_collapse as collapse from oncejob.app
    where powerjob_tokenless or powerjob_collapse = 'off' order by name`)

/** Apps whose workers may be anywhere, by name. */
export const listBoundlessApps = async (db: Queries): Promise<string[]> => {
  const rows = await db.query<{ name: string }>(sql`
    select name from oncejob.app where powerjob_worker_networks && array['0.0.0.0/0', '::/0'] order by name`)
  return rows.map(({ name }) => name)
}

/** Networks and hosts at which any app has Java workers. */
export const listWorkerNetworks = async (db: Queries): Promise<string[]> => {
  const rows = await db.query<{ network: string }>(sql`
    select distinct unnest(powerjob_worker_networks) as network from oncejob.app order by network`)
  return rows.map(({ network }) => network)
}

/** The key that signs tokens: the stored one, or `fresh`, stored now. Every server gets the same, whoever comes first. */
export const signingKey = async (db: Queries, fresh: Uint8Array): Promise<Uint8Array> => {
  const find = sql`select key from oncejob.signing_key where purpose = 'powerjob-token'`
  const [known] = await db.query<{ key: Uint8Array }>(find)
  if (known !== undefined) return known.key
  await db.query(sql`
    insert into oncejob.signing_key (purpose, key) values ('powerjob-token', ${fresh}) on conflict do nothing`)
  // a second statement: the snapshot of the first may be older than the row of another server
  const [stored] = await db.query<{ key: Uint8Array }>(find)
  return stored?.key ?? fresh
}
