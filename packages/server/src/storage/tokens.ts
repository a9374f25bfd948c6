// API tokens: only the SHA-256 of a token is stored, so that the table does not open any door.
import type { Me, Token } from '@oncejob/protocol'
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** A token as a request needs it. */
export interface KnownToken {
  readonly tokenId: number
  readonly name: string
  readonly scope: 'admin' | 'app' | 'read'
  readonly appId: number | null
  readonly app: string | null
  readonly namespace: Me['namespace']
  /** Its app takes no change without a request key. */
  readonly keysRequired: boolean
  /** Judged by the database's clock. */
  readonly expired: boolean
}

interface TokenRow extends Omit<Token, 'createdAt' | 'expiresAt'> {
  createdAt: Date
  expiresAt: Date | null
}

const viewOf = (row: TokenRow): Token => ({
  ...row,
  createdAt: row.createdAt.toISOString(),
  expiresAt: row.expiresAt?.toISOString() ?? null,
})

/** The token with this SHA-256, unless it was revoked. */
export const findToken = async (db: Queries, hash: Uint8Array): Promise<KnownToken | undefined> => {
  const [row] = await db.query<KnownToken>(sql`
    select t.id as "tokenId", t.name, t.scope, t.app_id as "appId", app.name as app, namespace.name as namespace,
      coalesce(app.require_request_keys, false) as "keysRequired",
      coalesce(t.expires_at <= now(), false) as expired
    from oncejob.api_token t
    left join oncejob.app app on app.id = t.app_id
    left join oncejob.namespace namespace on namespace.id = app.namespace_id
    where t.hash = ${hash} and t.revoked_at is null`)
  return row
}

/** The tokens of one app that have not been revoked, oldest first. */
export const listTokens = async (db: Queries, appId: number): Promise<Token[]> => {
  const rows = await db.query<TokenRow>(sql`
    select t.id, t.name, app.name as app, t.scope, t.created_at as "createdAt", t.expires_at as "expiresAt"
    from oncejob.api_token t join oncejob.app app on app.id = t.app_id
    where t.app_id = ${appId} and t.revoked_at is null
    order by t.id`)
  return rows.map(viewOf)
}

/** Stores a token of an app. `expiresAtMs`: ms since the epoch, null for never. */
export const insertToken = async (
  tx: Queries,
  token: {
    readonly appId: number
    readonly app: string
    readonly name: string
    readonly scope: 'app' | 'read'
    readonly hash: Uint8Array
    readonly expiresAtMs: number | null
  },
): Promise<Token | undefined> => {
  const expiresAt: Sql = token.expiresAtMs === null ? sql`null` : sql`to_timestamp(${token.expiresAtMs}::float8 / 1000)`
  const [row] = await tx.query<TokenRow>(sql`
    insert into oncejob.api_token (app_id, name, scope, hash, expires_at)
    values (${token.appId}, ${token.name}, ${token.scope}, ${token.hash}, ${expiresAt})
    returning id, name, ${token.app}::text as app, scope, created_at as "createdAt", expires_at as "expiresAt"`)
  return row === undefined ? undefined : viewOf(row)
}

/** Revokes a token of an app; its name, or undefined when the app has no such token. */
export const revokeToken = async (tx: Queries, appId: number, tokenId: number): Promise<string | undefined> => {
  const [row] = await tx.query<{ name: string }>(sql`
    update oncejob.api_token set revoked_at = now()
    where id = ${tokenId} and app_id = ${appId} and revoked_at is null
    returning name`)
  return row?.name
}

// any number that nothing else locks: "oj" and 1
const adminTokenLock = 0x6f6a_0001

/** Makes every other transaction that calls this wait until the end of this one. */
export const lockAdminTokens = async (tx: Queries): Promise<void> => {
  await tx.query(sql`select pg_advisory_xact_lock(${adminTokenLock}::bigint)`)
}

/** How many admin tokens work. */
export const countAdminTokens = async (tx: Queries): Promise<number> => {
  const [row] = await tx.query<{ count: number }>(sql`
    select count(*)::int as count from oncejob.api_token
    where scope = 'admin' and revoked_at is null and (expires_at is null or expires_at > now())`)
  return row?.count ?? 0
}

/** Stores an admin token that never expires, or lets the one with this hash work again. */
export const insertAdminToken = async (tx: Queries, name: string, hash: Uint8Array): Promise<void> => {
  await tx.query(sql`
    insert into oncejob.api_token (app_id, name, scope, hash) values (null, ${name}, 'admin', ${hash})
    on conflict (hash) do update set revoked_at = null, expires_at = null where api_token.scope = 'admin'`)
}

/** Revokes every admin token but the one with this hash; how many there were. */
export const revokeOtherAdminTokens = async (tx: Queries, hash: Uint8Array): Promise<number> => {
  const rows = await tx.query(sql`
    update oncejob.api_token set revoked_at = now()
    where scope = 'admin' and revoked_at is null and hash <> ${hash}
    returning id`)
  return rows.length
}
