// The wire on a real HTTP server of a free port; the database holds apps and the signing key, in memory.
import { createHash } from 'node:crypto'
import { Registry } from 'prom-client'
import type { RunsApi, SessionsApi } from '../../dispatch/api.ts'
import { createHttp, type HttpServer } from '../../http/server.ts'
import { refusalOf } from '../../http/problems.ts'
import { forgetfulKeys, testServices } from '../../http/testing/services.ts'
import { systemClock, type Clock } from '../../kernel/clock.ts'
import { systemRandom } from '../../kernel/random.ts'
import type { Db } from '../../storage/db.ts'
import type { Sql } from '../../storage/sql.ts'
import type { WireApp } from '../../storage/wire-apps.ts'
import { notingLog } from '../../testing/log.ts'
import type { Endpoint } from '../call.ts'
import { hashPassword } from '../passwords.ts'
import { createOpenApi, type OpenApiSettings } from '../plugin.ts'
import type { Resends } from '../resends-api.ts'
import { once, rawRequest, type RawAnswer } from './raw-http.ts'

export const md5 = (text: string): string => createHash('md5').update(text).digest('hex')

export const passwordOf = 'correct horse'
const hashed = hashPassword(passwordOf, systemRandom)

/** An app as tests have it: with the password above. */
export const testApp = async (id: number, name: string, over: Partial<WireApp> = {}): Promise<WireApp> => ({
  id,
  name,
  passwordHash: await hashed,
  passwordVersion: 1,
  tokenless: false,
  copyEnabled: false,
  collapse: 'evidence',
  keysRequired: false,
  workerNetworks: [],
  ...over,
})

/** A database that knows apps (change the array to change them) and one key. */
export const fakeDb = (apps: WireApp[]): Db => {
  let key: unknown
  const query = async (statement: Sql): Promise<unknown[]> => {
    const { text, values } = statement.toQuery()
    if (text.includes('insert into oncejob.signing_key')) {
      key ??= values[0]
      return []
    }
    if (text.includes('from oncejob.signing_key')) return key === undefined ? [] : [{ key }]
    if (text.includes('where name = ')) return apps.filter(({ name }) => name === values[0])
    if (text.includes('where id = ')) return apps.filter(({ id }) => id === values[0])
    throw new Error(`the fake database does not know: ${text}`)
  }
  return {
    kind: 'embedded',
    query,
    transaction: (work: (tx: unknown) => unknown) => work({ query }),
  } as unknown as Db
}

/** Recognises nothing: every call is executed. */
export const noResends: Resends = {
  onIssued: () => Promise.resolve(),
  onRejected: () => Promise.resolve(),
  run: async (_call, execute) => ({ answer: await execute({ id: null, key: null }), collapsed: null }),
  delivered: () => undefined,
  undelivered: () => undefined,
}

export interface WireRigOptions {
  readonly endpoints?: readonly Endpoint[]
  readonly apps?: WireApp[]
  readonly settings?: Partial<OpenApiSettings>
  readonly resends?: Resends
  readonly clock?: Clock
  readonly runs?: Partial<RunsApi>
  readonly db?: Db
}

export type WireRig = Awaited<ReturnType<typeof startWire>>

/** Starts a server. Stop it with `http.stop`. */
export const startWire = async (options: WireRigOptions = {}) => {
  const apps = options.apps ?? [await testApp(7, 'shop'), await testApp(8, 'bank')]
  const db = options.db ?? fakeDb(apps)
  const { log, logged } = notingLog()
  const clock = options.clock ?? systemClock
  const registry = new Registry()
  const { services, join, ...real } = testServices(db, (options.runs ?? {}) as RunsApi, clock)
  const keys = options.db === undefined ? forgetfulKeys(db) : real.keys
  const openApi = createOpenApi({
    endpoints: options.endpoints ?? [],
    resends: options.resends ?? noResends,
    settings: { auth: true, zone: 'UTC', tokenSeconds: 604_800, ...options.settings },
    services,
    join,
    keys,
    clock,
    random: systemRandom,
    log,
    registry,
    refusalOf,
  })
  const http: HttpServer = createHttp({
    services,
    join,
    keys,
    sessions: {} as SessionsApi,
    clock,
    random: systemRandom,
    log,
    registry,
    version: '9.9.9',
    ready: async () => undefined,
    routes: [],
    openApi,
  })
  const url = await http.listen('127.0.0.1', 0)
  const json = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    rawRequest(`/openApi${path}`, typeof body === 'string' ? body : JSON.stringify(body), {
      'Content-Type': 'application/json; charset=utf-8',
      ...headers,
    })
  const form = (path: string, fields: Record<string, string>, headers: Record<string, string> = {}) =>
    rawRequest(`/openApi${path}`, new URLSearchParams(fields).toString(), {
      'Content-Type': 'application/x-www-form-urlencoded',
      ...headers,
    })
  const call = async (bytes: Buffer): Promise<RawAnswer> => {
    const answer = await once(url, bytes)
    if (answer === undefined) throw new Error('the server hung up without an answer')
    return answer
  }
  const login = async (appName = 'shop', password = passwordOf) => {
    const body = { appName, encryptedPassword: md5(password), encryptType: 'md5' }
    const answer = JSON.parse((await call(json('/authApp', body))).body) as {
      success: boolean
      data: { appId: number; token: string }
      message: string | null
      code: string | null
    }
    return answer
  }
  /** The two headers of a 5.x client. */
  const credentials = async (appName = 'shop'): Promise<Record<string, string>> => {
    const { data } = await login(appName)
    return { 'X-POWERJOB-APP-ID': String(data.appId), 'X-POWERJOB-ACCESS-TOKEN': data.token }
  }
  return { http, url, apps, db, logged, registry, json, form, call, login, credentials }
}

export const passed = (answer: RawAnswer): string | undefined =>
  answer.lines.find((line) => line.startsWith('X-POWERJOB-AUTH-PASSED: '))?.slice(24)

/** A server whose endpoints note who called. */
export const startNoting = async (options: WireRigOptions = {}) => {
  const executed: { path: string; appId: number; actor: string }[] = []
  const endpoint = (path: string, over: Partial<Endpoint> = {}): Endpoint => ({
    path,
    accepts: 'form',
    mutates: true,
    app: 'appId',
    handle: async ({ appId, actor }) => executed.push({ path, appId, actor }),
    ...over,
  })
  const rig = await startWire({
    endpoints: [
      endpoint('/runJob'),
      endpoint('/saveJob', { accepts: 'json' }),
      endpoint('/queryJob', { accepts: 'json', app: 'appIdEq', mutates: false }),
      endpoint('/addWorkflowNode', { accepts: 'json', app: 'first-element' }),
      endpoint('/fetchInstanceStatus', {
        mutates: false,
        owner: async (fields) => (fields.get('instanceId') === '1' ? 7 : undefined),
      }),
    ],
    ...options,
  })
  return { ...rig, executed }
}
