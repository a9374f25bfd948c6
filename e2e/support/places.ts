// Where servers keep their data in a test: a database of its own on PostgreSQL, or a folder of its own.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmbedded, openPostgres, silentLog, type Queries, type Sql } from '@oncejob/server/testing'
import { testServerUrl } from '@oncejob/testkit'
import pg from 'pg'

export type PlaceKind = 'embedded' | 'postgres'

export interface Place {
  readonly kind: PlaceKind
  /** Settings that lead a server here. */
  readonly env: Readonly<Record<string, string>>
  /** Looks into the database. On the embedded one no server may have it open. */
  look<T>(work: (queries: Queries) => Promise<T>): Promise<T>
  remove(): Promise<void>
}

/** The engine of this project of vitest. */
export const placeKind = (): PlaceKind => (process.env['ONCEJOB_TEST_DB'] === 'postgres' ? 'postgres' : 'embedded')

/** A folder of this test, and its removal. */
export const tempFolder = (purpose: string): { path: string; remove: () => void } => {
  const path = mkdtempSync(join(tmpdir(), `oncejob-e2e-${purpose}-`))
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) }
}

const embeddedPlace = (): Place => {
  const folder = tempFolder('data')
  return {
    kind: 'embedded',
    env: { ONCEJOB_DATA: folder.path },
    look: async (work) => {
      const db = await openEmbedded({ dir: folder.path, log: silentLog })
      try {
        return await work(db)
      } finally {
        await db.close()
      }
    },
    remove: async () => folder.remove(),
  }
}

/** Runs one statement as the owner of the PostgreSQL server. */
export const onServer = async (serverUrl: string, statement: string): Promise<pg.QueryResult> => {
  const client = new pg.Client({ connectionString: serverUrl, connectionTimeoutMillis: 10_000 })
  // A connection that breaks tells whoever waits for an answer; as an event it would end the process.
  client.on('error', () => undefined)
  await client.connect()
  try {
    return await client.query(statement)
  } finally {
    await client.end()
  }
}

/** @param serverUrl the PostgreSQL server on which a database is made */
export const postgresPlace = async (serverUrl = testServerUrl()): Promise<Place & { url: string }> => {
  const name = `oncejob_test_e2e_${randomBytes(6).toString('hex')}`
  await onServer(serverUrl, `create database ${name}`)
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return {
    kind: 'postgres',
    url: url.href,
    env: { DATABASE_URL: url.href },
    look: async (work) => {
      const db = await openPostgres({ url: url.href, log: silentLog, applicationName: 'oncejob-e2e', poolMax: 2 })
      try {
        return await work(db)
      } finally {
        await db.close()
      }
    },
    remove: async () => void (await onServer(serverUrl, `drop database if exists ${name} with (force)`)),
  }
}

export const openPlace = async (kind: PlaceKind = placeKind()): Promise<Place> =>
  kind === 'postgres' ? postgresPlace() : embeddedPlace()

/** Rows of one statement. */
export const rowsOf = <R>(place: Place, statement: Sql): Promise<R[]> =>
  place.look((queries) => queries.query<R>(statement))
