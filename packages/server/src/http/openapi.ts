// The OpenAPI 3.1 document: made from the schemas of the routes, completed with what every route has in common.
import swagger, { type SwaggerTransform } from '@fastify/swagger'
import * as protocol from '@oncejob/protocol'
import { errors, type ErrorCode } from '@oncejob/protocol'
import { problemType } from './problems.ts'
import type { Access, HttpApp } from './types.ts'

const tags = [
  { name: 'Runs', description: 'Ask for runs, look at them, steer them' },
  { name: 'Jobs', description: 'What to run, when, with which limits' },
  { name: 'Schedules', description: 'When jobs fire, and what became of each fire' },
  { name: 'Workers', description: 'Who executes' },
  { name: 'Worker protocol', description: 'What a worker calls: sessions, polls, reports, logs' },
  { name: 'Tenancy', description: 'Namespaces, apps, tokens, and who did what' },
  { name: 'Operations', description: 'Health, metrics, audit, doctor' },
]

const description = `OnceJob runs jobs, once. Send a token as \`Authorization: Bearer <token>\`; a token of an app means that app,
an admin token names the app with \`?app=\`. A refusal is a problem document (RFC 9457) with a stable \`code\` and with \`retry\`,
which says whether the same call may be sent again.`

const everyRoute: readonly ErrorCode[] = ['SHUTTING_DOWN', 'DATABASE_UNAVAILABLE', 'BUG']
const withToken: readonly ErrorCode[] = ['TOKEN_MISSING', 'TOKEN_INVALID', 'TOKEN_EXPIRED']
const withKey: readonly ErrorCode[] = [
  'IDEMPOTENCY_KEY_INVALID',
  'IDEMPOTENCY_KEY_REQUIRED',
  'IDEMPOTENCY_KEY_REUSED',
  'IDEMPOTENCY_KEY_EXPIRED',
  'IDEMPOTENCY_IN_PROGRESS',
]
const withBody: readonly ErrorCode[] = [
  'REQUEST_INVALID',
  'BODY_UNREADABLE',
  'BODY_TOO_LARGE',
  'MEDIA_TYPE_UNSUPPORTED',
]

interface RouteFacts {
  readonly access: Access
  readonly mutating: boolean
  /** It heeds request keys. */
  readonly keyed: boolean
  readonly body: boolean
  readonly query: boolean
  readonly problems: readonly ErrorCode[]
}

const codesOf = ({ access, mutating, keyed, body, query, problems }: RouteFacts): ErrorCode[] => [
  ...problems,
  ...(body ? withBody : query ? (['REQUEST_INVALID'] as const) : []),
  ...(keyed ? withKey : []),
  ...(mutating && access !== 'open' ? (['READ_ONLY'] as const) : []),
  ...(access === 'app' ? (['APP_REQUIRED', 'APP_NOT_FOUND'] as const) : []),
  ...(access === 'admin' ? (['ADMIN_ONLY'] as const) : []),
  ...(access === 'open' ? [] : withToken),
  ...everyRoute,
]

const problemResponses = (codes: readonly ErrorCode[]): Record<string, unknown> => {
  const byStatus = Map.groupBy(new Set(codes), (code) => errors[code].status)
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: group.map((code) => `${code}: ${errors[code].title}`).join('. '),
        content: { [problemType]: { schema: protocol.Problem } },
      },
    ]),
  )
}

const keyHeader = {
  type: 'object',
  properties: {
    'Idempotency-Key': {
      type: 'string',
      minLength: 8,
      maxLength: 255,
      description: 'Names this call; keep it over every retry of the same call',
    },
  },
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const transform: SwaggerTransform = ({ schema, url, route }) => {
  const given: Record<string, unknown> = isRecord(schema) ? { ...schema } : {}
  const access = route.config?.access ?? 'any'
  const methods = [route.method].flat()
  const mutating = methods.some((method) => method !== 'GET' && method !== 'HEAD')
  const keyed = mutating && access !== 'open' && route.config?.keyed !== 'none'
  if (keyed) given['headers'] = keyHeader
  if (access === 'open') given['security'] = []
  const response = isRecord(given['response']) ? given['response'] : {}
  const codes = codesOf({
    access,
    mutating,
    keyed,
    body: given['body'] !== undefined,
    query: given['querystring'] !== undefined,
    problems: route.config?.problems ?? [],
  })
  // an answer that a route describes itself, such as that of the readiness check, goes first
  given['response'] = { ...problemResponses(codes), ...response }
  return { schema: given, url }
}

/** Collects the routes that are added from now on. */
export const describeRoutes = (app: HttpApp, version: string): void => {
  void app.register(swagger, {
    transform,
    openapi: {
      openapi: '3.1.0',
      info: { title: 'OnceJob', version, description, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      tags,
      security: [{ bearer: [] }, { basic: [] }],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'A token: oj_…' },
          basic: { type: 'http', scheme: 'basic', description: 'Any user name, the token as password' },
        },
      },
    },
  })
}

/** What the swagger plugin makes of schemas: one word for `const` and for maps. */
const plain = (schema: Record<string, unknown>): Record<string, unknown> => {
  const { const: constant, patternProperties: patterns, ...rest } = schema
  return {
    ...rest,
    ...(constant === undefined ? {} : { enum: [constant] }),
    ...(isRecord(patterns) ? { additionalProperties: Object.values(patterns)[0] } : {}),
  }
}

/** JSON with sorted keys, so that equal schemas are equal texts. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    isRecord(inner) && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(plain(inner)).toSorted(([left], [right]) => (left < right ? -1 : 1)))
      : inner,
  )

const isSchema = (value: unknown): value is Record<string, unknown> =>
  isRecord(value) && (value['type'] === 'object' || 'anyOf' in value)

/** The schemas of protocol by their text, so that they can be named wherever they occur. */
const namedSchemas = (): Map<string, string> =>
  new Map(
    Object.entries(protocol).flatMap(([name, schema]): [string, string][] =>
      /^[A-Z]/.test(name) && isSchema(schema) ? [[canonical(schema), name]] : [],
    ),
  )

/** Names the schemas of protocol in the document: each is written once, under components. */
const withNames = (document: unknown): Record<string, unknown> => {
  const names = namedSchemas()
  const used: Record<string, unknown> = {}
  const walkParts = (value: object): unknown =>
    Array.isArray(value)
      ? value.map(walk)
      : Object.fromEntries(Object.entries(value).map(([key, inner]: [string, unknown]) => [key, walk(inner)]))
  const walk = (value: unknown): unknown => {
    if (value === 'Default Response') return 'Success'
    if (!isRecord(value)) return value
    const name = isSchema(value) ? names.get(canonical(value)) : undefined
    if (name === undefined) return walkParts(value)
    if (!(name in used)) {
      used[name] = {}
      used[name] = walkParts(value)
    }
    return { $ref: `#/components/schemas/${name}` }
  }
  const walked = walk(document)
  const whole = isRecord(walked) ? walked : {}
  const components = isRecord(whole['components']) ? whole['components'] : {}
  const sorted = Object.fromEntries(Object.entries(used).toSorted(([left], [right]) => (left < right ? -1 : 1)))
  return { ...whole, components: { ...components, schemas: sorted } }
}

const documents = new WeakMap<object, Record<string, unknown>>()

/** The OpenAPI document of the app; the app must be ready. */
export const documentOf = (app: HttpApp): Record<string, unknown> => {
  const made = documents.get(app.server) ?? withNames(JSON.parse(JSON.stringify(app.swagger())))
  documents.set(app.server, made)
  return made
}
