// What a client 5.x does with requests and answers (contract 2.3), step by step; for tests that count requests.
import { createHash } from 'node:crypto'
import { connectRaw, rawRequest, type RawAnswer } from './raw-http.ts'

export interface ResultDto {
  readonly success: boolean
  readonly data: unknown
  readonly message: string | null
  readonly code?: string | null
}

export interface Client5 {
  readonly appId: number
  /** Paths of all requests so far, in order, authApp included. */
  readonly requests: readonly string[]
  /** Every answer as it came. */
  readonly answers: readonly RawAnswer[]
  /** A form with these fields, or with a text or a list the JSON body. */
  call(path: string, fields: Readonly<Record<string, unknown>>): Promise<ResultDto>
  json(path: string, body: unknown): Promise<ResultDto>
  close(): void
}

const passedIn = ({ lines }: RawAnswer): boolean => lines.some((line) => /^X-POWERJOB-AUTH-PASSED: true$/.test(line))

/** Constructs a client, which asks for a token twice when all is well. */
export const newClient5 = async (url: string, appName: string, password = 'pw'): Promise<Client5> => {
  const connection = await connectRaw(url)
  const requests: string[] = []
  const answers: RawAnswer[] = []
  const post = async (
    path: string,
    type: string,
    body: string,
    headers: Record<string, string>,
  ): Promise<RawAnswer> => {
    requests.push(path)
    connection.send(
      rawRequest(`/openApi${path}`, body, { 'Content-Type': type, 'User-Agent': 'okhttp/3.14.9', ...headers }),
    )
    const answer = await connection.answer()
    if (answer === undefined) throw new Error(`${path}: the connection was closed without an answer`)
    if (answer.status !== 200) throw new Error(`REMOTE_SERVER_INNER_EXCEPTION ${answer.status}`)
    answers.push(answer)
    return answer
  }
  const jsonType = 'application/json; charset=utf-8'
  const credentials = JSON.stringify({
    appName,
    encryptedPassword: createHash('md5').update(password).digest('hex'),
    encryptType: 'md5',
  })
  let auth: { readonly appId: number; readonly token: string } | undefined
  const authenticate = async (): Promise<NonNullable<typeof auth>> => {
    const { success, data, message } = JSON.parse((await post('/authApp', jsonType, credentials, {})).body) as ResultDto
    if (!success) throw new Error(`AUTH_FAILED_${message}`)
    return data as NonNullable<typeof auth>
  }
  const request = async (path: string, type: string, body: string): Promise<ResultDto> => {
    auth ??= await authenticate()
    const headersOf = ({ appId, token }: NonNullable<typeof auth>) => ({
      'X-POWERJOB-APP-ID': String(appId),
      'X-POWERJOB-ACCESS-TOKEN': token,
    })
    let answer = await post(path, type, body, headersOf(auth))
    if (!passedIn(answer)) {
      auth = await authenticate()
      answer = await post(path, type, body, headersOf(auth))
    }
    return JSON.parse(answer.body) as ResultDto
  }
  const { data } = await request('/authApp', jsonType, credentials)
  const { appId } = data as { appId: number }
  return {
    appId,
    requests,
    answers,
    json: (path, body) => request(path, jsonType, typeof body === 'string' ? body : JSON.stringify(body)),
    call: (path, fields) => {
      const pairs = Object.entries({ ...fields, appId }).map(([name, value]) => [name, String(value)])
      return request(
        path,
        'application/x-www-form-urlencoded',
        String(new URLSearchParams(pairs)).replaceAll('+', '%20'),
      )
    },
    close: () => void connection.socket.destroy(),
  }
}
