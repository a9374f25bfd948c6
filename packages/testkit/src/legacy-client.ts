// PowerJob's Java clients, as far as what they send: the token dance of 5.x, fail-over, the case-sensitive look at our header.
// Checked against traces of the real ones in legacy-client.test.ts.
import { createHash } from 'node:crypto'
import { legacyHttp1, LegacyIoError, type LegacyHttp, type LegacyResponse } from './legacy-http.ts'

export interface LegacyClientOptions {
  readonly version: '4.3.9' | '5.1.0' | '5.1.1'
  /** Addresses in the order of the client's configuration. */
  readonly urls: readonly string[]
  readonly appName: string
  readonly password: string
  /** 5.x: for a whole call, 2 s as delivered; 4.x: between bytes, 5 s. */
  readonly timeoutMs?: number
  /** HTTP/1.1 when not given. */
  readonly http?: LegacyHttp
  /** `defaultHeaders` of the configuration of 5.x. */
  readonly defaultHeaders?: Readonly<Record<string, string>>
  /** Told of each request before it is sent (not of silent repeats). */
  readonly onRequest?: (sent: { readonly url: string; readonly path: string; readonly token: string | null }) => void
}

/** What the client's caller gets. */
export interface LegacyResult {
  readonly success: boolean
  readonly data: unknown
  readonly message: string | null
}

/** What the client throws. */
export class LegacyClientError extends Error {
  override readonly name = 'PowerJobException'
}

type Fields = Readonly<Record<string, string | number>>

export interface LegacyClient {
  readonly appId: number
  /** A call with form fields; `appId` is added. */
  form(path: string, fields: Fields): Promise<LegacyResult>
  /** A call with a JSON body; `appId` is added. */
  json(path: string, body: Readonly<Record<string, unknown>>): Promise<LegacyResult>
  /** Resolves with the id of the instance. */
  runJob(jobId: number, instanceParams?: string): Promise<number>
  saveJob(job: Readonly<Record<string, unknown>>): Promise<number>
  close(): void
}

interface Body {
  readonly type: string
  readonly text: string
}

const statusHeader = 'X-POWERJOB-AUTH-PASSED'
const md5 = (text: string): string => createHash('md5').update(text).digest('hex')
const jsonBody = (value: unknown): Body => ({ type: 'application/json; charset=utf-8', text: JSON.stringify(value) })
const formBody = (fields: Fields): Body => ({
  type: 'application/x-www-form-urlencoded',
  text: Object.entries(fields)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .join('&'),
})

/** Sends to the current address, and when no answer comes to the others in order; the one that answers becomes current. */
const createCluster = (options: LegacyClientOptions, http: LegacyHttp) => {
  const { urls, version, onRequest } = options
  const isOld = version === '4.3.9'
  const timeoutMs = options.timeoutMs ?? (isOld ? 5_000 : 2_000)
  let [current = ''] = urls

  const post = (url: string, path: string, body: Body, headers: Readonly<Record<string, string>>) => {
    onRequest?.({ url, path, token: headers['X-POWERJOB-ACCESS-TOKEN'] ?? null })
    return http.post({
      url,
      path: `/openApi${path}`,
      headers: { 'Content-Type': body.type, 'Accept-Encoding': 'identity', ...headers, ...options.defaultHeaders },
      body: body.text,
      signal: AbortSignal.timeout(timeoutMs),
    })
  }
  return async (path: string, body: Body, headers: Readonly<Record<string, string>> = {}): Promise<LegacyResponse> => {
    const first = current
    for (const url of [first, ...urls.filter((other) => other !== first)]) {
      try {
        const response = await post(url, path, body, headers)
        // 4.x asks the next one when the body is empty, and takes no other status for an answer
        if (isOld && response.status !== 200) throw new LegacyClientError(`http request failed,code=${response.status}`)
        if (isOld && response.body === '') continue
        current = url
        return response
      } catch (error) {
        if (!(error instanceof LegacyIoError)) throw error
      }
    }
    throw new LegacyClientError('no server available when send post request')
  }
}

type Send = ReturnType<typeof createCluster>

/** A field of what should be an object. */
const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined

const resultOf = (response: LegacyResponse): LegacyResult => {
  const body: unknown = JSON.parse(response.body)
  const message = fieldOf(body, 'message')
  return {
    success: fieldOf(body, 'success') === true,
    data: fieldOf(body, 'data'),
    message: typeof message === 'string' ? message : null,
  }
}

const numberIn = (value: unknown): number => {
  if (typeof value === 'number') return value
  throw new LegacyClientError(`not a number: ${JSON.stringify(value)}`)
}

/** The request code of 5.1.0 and 5.1.1, which is the same in both. */
const createTokenDance = (send: Send, { appName, password }: LegacyClientOptions) => {
  const auth = jsonBody({ appName, encryptedPassword: md5(password), encryptType: 'md5' })
  let known: { readonly appId: number; readonly token: string } | undefined

  const refresh = async (): Promise<void> => {
    const response = await send('/authApp', auth)
    if (response.status !== 200) throw new LegacyClientError('AUTH_APP_EXCEPTION!')
    const { success, data, message } = resultOf(response)
    if (!success) throw new LegacyClientError(`AUTH_FAILED_${message}`)
    known = { appId: numberIn(fieldOf(data, 'appId')), token: String(fieldOf(data, 'token')) }
  }
  const withToken = async (path: string, body: Body): Promise<LegacyResponse> => {
    const response = await send(path, body, {
      'X-POWERJOB-APP-ID': String(known?.appId),
      'X-POWERJOB-ACCESS-TOKEN': known?.token ?? '',
    })
    if (response.status !== 200) throw new LegacyClientError('REMOTE_SERVER_INNER_EXCEPTION')
    return response
  }
  const request = async (path: string, body: Body): Promise<LegacyResult> => {
    if (known === undefined) await refresh()
    const response = await withToken(path, body)
    if (response.headers.get(statusHeader)?.toLowerCase() === 'true') return resultOf(response)
    await refresh()
    return resultOf(await withToken(path, body))
  }
  const enter = async (): Promise<number> => {
    const { success, data, message } = await request('/authApp', auth)
    if (!success) throw new LegacyClientError(message ?? '')
    return numberIn(fieldOf(data, 'appId'))
  }
  return { request, enter }
}

const createOldClient = (send: Send, { appName, password }: LegacyClientOptions) => {
  const request = async (path: string, body: Body): Promise<LegacyResult> => resultOf(await send(path, body))
  const enter = async (): Promise<number> => {
    const { success, data, message } = await request('/assert', formBody({ appName, password }))
    if (!success) throw new LegacyClientError(message ?? '')
    return numberIn(data)
  }
  return { request, enter }
}

/** What the constructor of `PowerJobClient` does. One client may be shared by many callers at once, as by threads. */
export const connectLegacyClient = async (options: LegacyClientOptions): Promise<LegacyClient> => {
  const http = options.http ?? legacyHttp1()
  const send = createCluster(options, http)
  const { request, enter } =
    options.version === '4.3.9' ? createOldClient(send, options) : createTokenDance(send, options)
  const appId = await enter()
  const numberOf = async (result: Promise<LegacyResult>): Promise<number> => {
    const { success, data, message } = await result
    if (!success || typeof data !== 'number') throw new LegacyClientError(message ?? 'no data')
    return data
  }
  const form = (path: string, fields: Fields): Promise<LegacyResult> => request(path, formBody({ ...fields, appId }))
  const json = (path: string, body: Readonly<Record<string, unknown>>): Promise<LegacyResult> =>
    request(path, jsonBody({ ...body, appId }))
  return {
    appId,
    form,
    json,
    runJob: (jobId, instanceParams) =>
      numberOf(form('/runJob', { jobId, delay: 0, ...(instanceParams === undefined ? {} : { instanceParams }) })),
    saveJob: (job) => numberOf(json('/saveJob', job)),
    close: () => http.close(),
  }
}
