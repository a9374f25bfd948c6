// The reference in docs says what the code does: the tables in both directions, and the OpenAPI document.
import { existsSync, readFileSync } from 'node:fs'
import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { errors, runActions, runMoves, runStates } from '@oncejob/protocol'
import { errorsPage, statesPage } from '../../scripts/reference-pages.ts'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { systemRandom } from '../kernel/random.ts'
import { documentOf } from './openapi.ts'
import { typeOf } from './problems.ts'
import { createHttp, type HttpDeps } from './server.ts'

const page = (name: string): string =>
  readFileSync(new URL(`../../../../docs/reference/${name}`, import.meta.url), 'utf8')

describe('the error table', () => {
  const documented = [
    ...page('errors.md').matchAll(/^\| <a id="([a-z-]+)"><\/a>`([A-Z_]+)` \| (\d+) \| `([a-z-]+)` \| (.+) \|$/gm),
  ].map(([, anchor, code, status, retry, title]) => ({ anchor, code, status: Number(status), retry, title }))

  it('has every code in docs, with the same status, retry and meaning', () => {
    for (const [code, spec] of Object.entries(errors))
      expect(documented.find((row) => row.code === code)).toMatchObject(spec)
  })

  it('has every code that docs have, once', () => {
    const codes = documented.map(({ code }) => code)
    expect(codes).toHaveLength(Object.keys(errors).length)
    expect(new Set(codes)).toEqual(new Set(Object.keys(errors)))
    for (const { anchor, code } of documented)
      expect(typeOf(code as keyof typeof errors)).toBe(`https://oncejob.dev/problems/${anchor}`)
  })

  it('never asks a client to repeat without telling it how: no 408, 5xx are repeated with the same key', () => {
    for (const [code, { status, retry }] of Object.entries(errors)) {
      expect(status).not.toBe(408)
      expect(retry === 'same-key', code).toBe(status >= 500 || code === 'IDEMPOTENCY_IN_PROGRESS')
      expect(retry === 'after-auth').toBe(status === 401)
    }
  })
})

describe('the reference pages', () => {
  it('are what the generator writes', () => {
    expect(page('errors.md')).toBe(errorsPage())
    expect(page('states.md')).toBe(statesPage())
  })

  it('draw every move of a run and name every action', () => {
    const text = page('states.md')
    for (const state of runStates) {
      for (const [move, target] of Object.entries(runMoves[state]))
        expect(text).toContain(`    ${state} --> ${target}: ${move}\n`)
    }
    for (const action of Object.keys(runActions)) expect(text).toContain(`| ${action} |`)
  })
})

interface Operation {
  summary?: string
  tags?: string[]
  security?: object[]
  parameters?: { name: string; in: string }[]
  responses: Record<string, { description: string; content?: Record<string, unknown> }>
}

const described = async (): Promise<{
  paths: Record<string, Record<string, Operation>>
  [member: string]: unknown
}> => {
  const deps = {
    services: { db: {}, runs: {}, jobs: {} },
    join: () => ({}),
    keys: {},
    sessions: {},
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    registry: new Registry(),
    version: '1.2.3',
    ready: async () => undefined,
    routes: [],
  }
  const { app } = createHttp(deps as unknown as HttpDeps)
  await app.ready()
  const document = documentOf(app)
  await app.close()
  return document as Awaited<ReturnType<typeof described>>
}
const operationsOf = (paths: Record<string, Record<string, Operation>>) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )

// What a worker says has an identity of its own (session, lease, place in the log), and a preview changes nothing.
const withoutKeys = /^\/api\/v1\/(worker\/|schedules\/preview$)/

const expectWhole = (paths: Record<string, Record<string, Operation>>): void => {
  for (const { path, method, operation } of operationsOf(paths)) {
    const name = `${method} ${path}`
    expect(operation.summary, name).toBeTruthy()
    expect(operation.tags, name).toHaveLength(1)
    const open = path.startsWith('/health/')
    expect(Object.keys(operation.responses), name).toEqual(
      expect.arrayContaining(open ? ['200', '503'] : ['401', '500', '503']),
    )
    const hasKey = (operation.parameters ?? []).some(
      (parameter) => parameter.name === 'Idempotency-Key' && parameter.in === 'header',
    )
    expect(hasKey, name).toBe(method !== 'get' && method !== 'head' && !withoutKeys.test(path))
  }
}

describe('the OpenAPI document', () => {
  it('is OpenAPI 3.1 with both ways to show a token', async () => {
    const document = await described()
    expect(document).toMatchObject({
      openapi: '3.1.0',
      info: { title: 'OnceJob', version: '1.2.3' },
      security: [{ bearer: [] }, { basic: [] }],
    })
  })

  it('has for every route a summary, a tag, its refusals, and the request key on every change', async () => {
    const { paths } = await described()
    expect(operationsOf(paths).length).toBeGreaterThan(20)
    expectWhole(paths)
    expect(paths['/api/v1/runs/{id}/cancel']?.['post']?.responses['409']?.description).toContain('RUN_RUNNING')
    expect(paths['/api/v1/runs/{id}/cancel']?.['post']?.responses['409']?.description).toContain('IN_PROGRESS')
    expect(paths['/health/live']?.['get']?.security).toEqual([])
  })

  it('refers only to schemas that it has', async () => {
    const document = await described()
    const names = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(
      ([, name]) => name ?? '',
    )
    const { schemas } = document['components'] as { schemas: Record<string, unknown> }
    expect(new Set(names)).toEqual(new Set(Object.keys(schemas)))
    expect(Object.keys(schemas)).toEqual(expect.arrayContaining(['RunInput', 'Problem', 'PollAnswer']))
  })

  it('in docs is as whole as that of the routes here', () => {
    expect(existsSync(new URL('../../../../docs/reference/openapi.json', import.meta.url))).toBe(true)
    expectWhole(JSON.parse(page('openapi.json')).paths)
  })
})

describe('the reference page', () => {
  it('loads nothing from elsewhere: one script of our own, under a policy that allows no other origin', async () => {
    const tokenRow = { tokenId: 1, name: 'a', scope: 'admin', appId: null, app: null, namespace: null, expired: false }
    const deps = {
      services: { db: { query: async () => [tokenRow] }, runs: {}, jobs: {} },
      join: () => ({}),
      keys: {},
      sessions: {},
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      registry: new Registry(),
      version: '1.2.3',
      ready: async () => undefined,
      routes: [],
    }
    const { app } = createHttp(deps as unknown as HttpDeps)
    const get = (url: string) => app.inject({ url, headers: { authorization: 'Bearer any' } })
    const moved = await get('/docs')
    expect([moved.statusCode, moved.headers.location]).toEqual([301, '/docs/'])
    const html = await get('/docs/')
    expect(html.body).toContain('<title>OnceJob API</title>')
    expect([...html.body.matchAll(/<script[^>]*\ssrc="([^"]*)"/g)].map(([, src]) => src)).toEqual(['js/scalar.js'])
    expect(html.body).not.toMatch(/(src|href)="(https?:)?\/\//)
    const policy = String(html.headers['content-security-policy'])
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toMatch(/https?:|\*/)
    const nonce = /'nonce-([^']+)'/.exec(policy)?.[1] ?? 'none'
    expect(html.body.split(nonce).length).toBeGreaterThan(2)
    expect((await get('/docs/')).headers['content-security-policy']).not.toBe(policy)
    const script = await get('/docs/js/scalar.js')
    expect(script.headers['content-type']).toBe('application/javascript; charset=utf-8')
    expect(script.body.length).toBeGreaterThan(1_000_000)
    expect((await get('/openapi.json')).json()).toMatchObject({ openapi: '3.1.0' })
    await app.close()
  })
})
