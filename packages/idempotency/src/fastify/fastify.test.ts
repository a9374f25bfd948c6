// The Fastify plugin keeps the promises of the guards, and those that only Fastify can break.
import fastify, { type FastifyReply } from 'fastify'
import { describe, expect, it } from 'vitest'
import { guardsContract } from '../guard/guards.contract.ts'
import { createOnceTokens } from '../once-tokens.ts'
import { createRequestKeys } from '../request-keys.ts'
import { createMemoryStore } from '../store/memory.ts'
import { startFastify } from '../testing/apps.ts'
import { idempotency } from './index.ts'

describe('on Fastify', () => {
  guardsContract(startFastify)
})

const key = { 'idempotency-key': 'key-of-the-test', secret: 'account-1' }

it('defaults that validation fills in do not change what a request is', async () => {
  const app = fastify()
  const store = createMemoryStore()
  await app.register(idempotency, { requestKeys: { keys: createRequestKeys({ store }) } })
  let fallback = 'none'
  let effects = 0
  app.post(
    '/order',
    { schema: { body: { type: 'object', properties: { note: { type: 'string', default: 'none' } } } } },
    async () => {
      effects += 1
      return { fallback }
    },
  )
  await app.inject({ method: 'POST', url: '/order', headers: key, payload: {} })
  const again = fastify()
  fallback = 'changed'
  await again.register(idempotency, { requestKeys: { keys: createRequestKeys({ store }) } })
  again.post(
    '/order',
    { schema: { body: { type: 'object', properties: { note: { type: 'string', default: 'changed' } } } } },
    async () => ({}),
  )
  const repeat = await again.inject({ method: 'POST', url: '/order', headers: key, payload: {} })
  expect([repeat.statusCode, repeat.json(), effects]).toEqual([200, { fallback: 'none' }, 1])
  await app.close()
  await again.close()
})

it('a route can say that keys are not for it', async () => {
  const app = fastify()
  await app.register(idempotency, { requestKeys: { keys: createRequestKeys({ store: createMemoryStore() }) } })
  app.post('/hook', { config: { requestKey: false } }, async () => 'fine')
  expect((await app.inject({ method: 'POST', url: '/hook' })).body).toBe('fine')
  await app.close()
})

it('a refusal after the claim, by a later hook, gives it back', async () => {
  const app = fastify()
  const tokens = createOnceTokens({ store: createMemoryStore(), secret: 'a secret of the test' })
  await app.register(idempotency, { onceTokens: { tokens } })
  let allowed = false
  const preHandler = async (_request: unknown, reply: FastifyReply) => (allowed ? undefined : reply.code(403).send({}))
  app.post('/order', { preHandler, config: { onceToken: { operation: 'createOrder' } } }, async () => ({ made: true }))
  const { token } = await tokens.issue({ account: 'a', operation: 'createOrder' })
  const send = () => app.inject({ method: 'POST', url: '/order', headers: { secret: 'a', token }, payload: {} })
  expect((await send()).statusCode).toBe(403)
  allowed = true
  expect((await send()).json()).toEqual({ made: true })
  await app.close()
})

it('a hijacked reply leaves the key used, its answer unknown', async () => {
  const app = fastify()
  await app.register(idempotency, { requestKeys: { keys: createRequestKeys({ store: createMemoryStore() }) } })
  app.post('/raw', async (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200)
    reply.raw.end('raw')
    return reply
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const send = () => fetch(`${url}/raw`, { method: 'POST', headers: key })
  expect(await (await send()).text()).toBe('raw')
  const repeat = await send()
  expect([repeat.status, ((await repeat.json()) as { type: string }).type]).toEqual([
    409,
    expect.stringContaining('answer-not-kept'),
  ])
  await app.close()
})

it('a route with a token in an app without tokens is a mistake that shows at the first request', async () => {
  const app = fastify()
  await app.register(idempotency, {})
  app.post('/order', { config: { onceToken: { operation: 'createOrder' } } }, async () => 'unguarded')
  expect((await app.inject({ method: 'POST', url: '/order' })).statusCode).toBe(500)
  await app.close()
})
