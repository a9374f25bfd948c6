// The routes: an order is taken once, moves are compare-and-set, edits name the version that they are based on.
import { randomUUID } from 'node:crypto'
import {
  IdempotencyRefusal,
  type OnceTokens,
  type RequestKeys,
  type TokenUse,
  type TransactionAnswer,
  type WorkAnswer,
} from '@oncejob/idempotency'
import { idempotency, issueOnceTokens, sendAnswer, sendRefusal } from '@oncejob/idempotency/fastify'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Order, OrderBook, OrderInput, OrderMove } from './orders.ts'
import { isOrderMove, movesFrom } from './orders.ts'
import { formPage, orderPage } from './page.ts'

export interface DemoParts {
  readonly orders: OrderBook
  readonly tokens: OnceTokens
  readonly keys: RequestKeys
  /**
   * Where tokens and orders share a PostgreSQL: uses the token up and writes the order in one transaction.
   * Undefined elsewhere; then the plugin claims the token around the handler.
   */
  readonly createWithToken:
    | ((token: TokenUse, input: OrderInput, answer: (order: Order) => WorkAnswer) => Promise<TransactionAnswer>)
    | undefined
}

const operation = 'createOrder'
const cookieName = 'visitor'

const problem = (
  reply: FastifyReply,
  status: number,
  slug: string,
  title: string,
  members: object = {},
): FastifyReply =>
  reply
    .code(status)
    .type('application/problem+json')
    .serializer(String)
    .send(
      JSON.stringify({
        type: `https://example.com/problems/${slug}`,
        title,
        status,
        instance: reply.request.id,
        ...members,
      }),
    )

const visitorOf = (request: FastifyRequest): string | undefined =>
  request.headers.cookie
    ?.split(';')
    .map((pair) => pair.trim().split('='))
    .find(([name]) => name === cookieName)?.[1]

/** Who is calling: the demo's header, or the page's cookie. A real app takes the user who has logged in. */
const accountOf = (request: FastifyRequest): string | undefined => {
  const { secret } = request.headers
  return typeof secret === 'string' && secret !== '' ? secret : visitorOf(request)
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

const tokenOf = (request: FastifyRequest): string | undefined => {
  const { token } = request.headers
  if (typeof token === 'string') return token
  return isRecord(request.body) && typeof request.body['token'] === 'string' ? request.body['token'] : undefined
}

const inputSchema = {
  type: 'object',
  required: ['item', 'count'],
  properties: {
    item: { type: 'string', minLength: 1, maxLength: 200 },
    count: { type: 'integer', minimum: 1, maximum: 1000 },
  },
} as const

const etagOf = (order: Order): string => `"order-${order.id}-v${order.version}"`

const versionIn = (ifMatch: string, id: number): number | undefined => {
  const found = /^"order-(\d+)-v(\d+)"$/.exec(ifMatch)
  return found !== null && Number(found[1]) === id ? Number(found[2]) : undefined
}

const sendOrder = (reply: FastifyReply, order: Order, more: object = {}): FastifyReply =>
  reply.header('etag', etagOf(order)).send({ ...order, moves: movesFrom(order.state), ...more })

/** Both ways to make an order, with the answer that each of them wants. */
const createRoutes = (app: FastifyInstance, { orders, tokens, createWithToken }: DemoParts): void => {
  const transactional = createWithToken !== undefined

  const create = async (
    request: FastifyRequest<{ Body: OrderInput }>,
    reply: FastifyReply,
    answer: (order: Order) => WorkAnswer,
  ) => {
    const { item, count } = request.body
    if (createWithToken !== undefined && request.onceToken !== undefined) {
      return sendAnswer(reply, await createWithToken(request.onceToken, { item, count }, answer))
    }
    const { status, headers, body } = answer(await orders.create({ item, count }))
    return reply
      .code(status)
      .headers(headers ?? {})
      .send(body)
  }

  // As in the demo that everybody knows: GET, the token as text. New apps use POST /once-tokens.
  app.get('/order/getToken', async (request, reply) => {
    reply.header('cache-control', 'no-store')
    const account = accountOf(request)
    if (account === undefined) return problem(reply, 401, 'account-required', 'Send the header secret')
    try {
      return reply.type('text/plain').send((await tokens.issue({ account, operation })).token)
    } catch (error) {
      if (error instanceof IdempotencyRefusal && sendRefusal(error, reply)) return reply
      throw error
    }
  })
  app.post(
    '/once-tokens',
    { config: { requestKey: false } },
    issueOnceTokens({ tokens, operations: [operation], account: accountOf }),
  )

  app.post<{ Body: OrderInput }>(
    '/order/create',
    { schema: { body: inputSchema }, config: { onceToken: { operation, mode: 'reject', transactional } } },
    (request, reply) =>
      create(request, reply, (order) => ({
        status: 201,
        headers: { location: `/order/${order.id}` },
        body: { success: true, msg: 'Success', order },
      })),
  )

  // The form: a second submit of the same page leads to the same order.
  app.post<{ Body: OrderInput }>(
    '/orders',
    { schema: { body: inputSchema }, config: { onceToken: { operation, mode: 'replay', transactional } } },
    (request, reply) =>
      create(request, reply, (order) => ({ status: 303, headers: { location: `/orders/${order.id}` } })),
  )
}

const orderRoutes = (app: FastifyInstance, { orders }: DemoParts): void => {
  const absent = (reply: FastifyReply): FastifyReply => problem(reply, 404, 'order-not-found', 'There is no such order')

  const move = async (
    reply: FastifyReply,
    id: string,
    wanted: string,
    done: (order: Order, changed: boolean) => FastifyReply,
  ) => {
    if (!isOrderMove(wanted)) return problem(reply, 404, 'move-not-found', 'There is no such move')
    const outcome = await orders.move(Number(id), wanted)
    if (outcome.kind === 'absent') return absent(reply)
    if (outcome.kind !== 'illegal') return done(outcome.order, outcome.kind === 'moved')
    return illegal(reply, outcome.order, wanted)
  }
  const illegal = (reply: FastifyReply, order: Order, wanted: OrderMove): FastifyReply =>
    problem(reply, 409, 'illegal-transition', `A ${order.state} order can not ${wanted}`, {
      from: order.state,
      event: wanted,
      allowed: movesFrom(order.state),
    })

  app.get<{ Params: { id: string } }>('/order/:id(\\d{1,15})', async (request, reply) => {
    const order = await orders.find(Number(request.params.id))
    return order === undefined ? absent(reply) : sendOrder(reply, order)
  })

  app.post<{ Params: { id: string; move: string } }>('/order/:id(\\d{1,15})/:move', (request, reply) =>
    move(reply, request.params.id, request.params.move, (order, changed) => sendOrder(reply, order, { changed })),
  )

  const change = { ...inputSchema, required: [], minProperties: 1, additionalProperties: false }
  app.patch<{ Params: { id: string }; Body: Partial<OrderInput> }>(
    '/order/:id(\\d{1,15})',
    { schema: { body: change } },
    async (request, reply) => {
      const id = Number(request.params.id)
      const ifMatch = request.headers['if-match']
      if (ifMatch === undefined)
        return problem(reply, 428, 'precondition-required', 'Send If-Match with the ETag of the order')
      const outcome = await orders.edit(id, versionIn(ifMatch, id) ?? 0, request.body)
      if (outcome.kind === 'absent') return absent(reply)
      if (outcome.kind === 'edited') return sendOrder(reply, outcome.order)
      reply.header('etag', etagOf(outcome.order))
      return problem(reply, 412, 'version-conflict', 'The order was changed', {
        expected: ifMatch,
        current: etagOf(outcome.order),
        order: outcome.order,
      })
    },
  )

  app.get<{ Params: { id: string } }>('/orders/:id(\\d{1,15})', async (request, reply) => {
    const order = await orders.find(Number(request.params.id))
    return order === undefined ? absent(reply) : reply.type('text/html').send(orderPage(order))
  })
  app.post<{ Params: { id: string; move: string } }>(
    '/orders/:id(\\d{1,15})/:move',
    { config: { requestKey: false } },
    (request, reply) =>
      move(reply, request.params.id, request.params.move, (order) => reply.redirect(`/orders/${order.id}`, 303)),
  )
}

/** The demo, ready to listen. */
export const createDemo = async (parts: DemoParts): Promise<FastifyInstance> => {
  const app = fastify({ forceCloseConnections: true })
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => {
    done(null, Object.fromEntries(new URLSearchParams(String(body))))
  })
  await app.register(idempotency, {
    onceTokens: { tokens: parts.tokens, account: accountOf, token: tokenOf },
    requestKeys: { keys: parts.keys, account: accountOf, require: 'none' },
  })
  app.setErrorHandler((error, request, reply) => {
    if (sendRefusal(error, reply)) return
    const status = isRecord(error) && typeof error['statusCode'] === 'number' ? error['statusCode'] : 500
    if (status >= 500)
      process.stderr.write(`${request.id} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    const title = status < 500 && error instanceof Error ? error.message : 'The request failed'
    void problem(reply, status, status < 500 ? 'request-invalid' : 'failure', title)
  })

  app.get('/', async (request, reply) => {
    const visitor = visitorOf(request) ?? randomUUID()
    const { token } = await parts.tokens.issue({ account: visitor, operation })
    return reply
      .headers({
        'cache-control': 'no-store',
        'set-cookie': `${cookieName}=${visitor}; HttpOnly; SameSite=Lax; Path=/`,
      })
      .type('text/html')
      .send(formPage(token))
  })
  createRoutes(app, parts)
  orderRoutes(app, parts)
  return app
}
