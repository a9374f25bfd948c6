// The order demo in memory: an order is taken once, moves and edits are guarded, pages lead on by 303.
import type { FastifyInstance } from 'fastify'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDemo } from './app.ts'
import { createMemoryOrders } from './orders-memory.ts'
import type { OrderBook, OrderMove, OrderState } from './orders.ts'
import { movesFrom, orderMoves, sourcesOf, targetOf } from './orders.ts'
import { openParts, type OpenParts } from './parts.ts'

let parts: OpenParts
let app: FastifyInstance
let url: string
beforeEach(async () => {
  parts = await openParts({})
  app = await createDemo(parts)
  url = await app.listen({ port: 0, host: '127.0.0.1' })
})
afterEach(async () => {
  await app.close()
  await parts.close()
})

const secret = 'account-1'
const getToken = async (): Promise<string> => (await fetch(`${url}/order/getToken`, { headers: { secret } })).text()
const send = (path: string, method: string, headers: Record<string, string>, body?: object) =>
  fetch(`${url}${path}`, {
    method,
    headers: { secret, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    redirect: 'manual',
  })
const tea = { item: 'tea', count: 2 }
const create = (token: string) => send('/order/create', 'POST', { token }, tea)
const statuses = (answers: readonly Response[]): number[] =>
  answers.map(({ status }) => status).toSorted((a, b) => a - b)

describe('creating orders', () => {
  it('three at once with one token: exactly one 2xx and one order row (S-19)', async () => {
    const token = await getToken()
    expect(statuses(await Promise.all([1, 2, 3].map(() => create(token))))).toEqual([201, 409, 409])
    expect(await parts.orders.count()).toBe(1)
  })

  it('200 at once with one token: exactly one 2xx and one order row', async () => {
    const token = await getToken()
    const all = statuses(await Promise.all(Array.from({ length: 200 }, () => create(token))))
    expect(all).toEqual([201, ...Array.from({ length: 199 }, () => 409)])
    expect(await parts.orders.count()).toBe(1)
  })

  it('two tokens are two, both work, and neither may be cached (S-05)', async () => {
    const issued = await fetch(`${url}/order/getToken`, { headers: { secret } })
    expect(issued.headers.get('cache-control')).toBe('no-store')
    const answers = [await create(await issued.text()), await create(await getToken())]
    expect(await Promise.all(answers.map((each) => each.json()))).toMatchObject([
      { success: true, msg: 'Success', order: { id: 1, ...tea } },
      { success: true, msg: 'Success', order: { id: 2, ...tea } },
    ])
  })

  it('without an account there is no token; with a wrong body the token stays good', async () => {
    expect((await fetch(`${url}/order/getToken`)).status).toBe(401)
    const token = await getToken()
    const wrong = await send('/order/create', 'POST', { token }, { item: '', count: 0 })
    expect([wrong.status, wrong.headers.get('content-type')]).toEqual([400, 'application/problem+json'])
    expect((await create(token)).status).toBe(201)
  })

  it('POST /once-tokens issues them too', async () => {
    const issued = await send('/once-tokens', 'POST', {}, { operation: 'createOrder' })
    const { token } = (await issued.json()) as { token: string }
    expect([issued.status, (await create(token)).status]).toEqual([201, 201])
  })
})

describe('the page', () => {
  const open = async () => {
    const page = await fetch(url)
    const cookie = page.headers.get('set-cookie')!.split(';')[0]!
    const html = await page.text()
    const token = /name="token" value="([^"]+)"/.exec(html)![1]!
    return { page, cookie, html, token }
  }
  const submit = (cookie: string, form: Record<string, string>) =>
    fetch(`${url}/orders`, { method: 'POST', headers: { cookie }, body: new URLSearchParams(form), redirect: 'manual' })

  it('turns its button off while the order is under way, and is not cached', async () => {
    const { page, html } = await open()
    expect(page.headers.get('cache-control')).toBe('no-store')
    expect(html).toContain('button.disabled = true')
    expect(html).toContain("setAttribute('aria-busy', 'true')")
  })

  it('leads to the order by 303; the same page sent again, reloaded or twice at once, leads to the same order (S-03)', async () => {
    const { cookie, token } = await open()
    const form = { token, item: 'Tea <&>', count: '1' }
    const first = await submit(cookie, form)
    expect([first.status, first.headers.get('location')]).toEqual([303, '/orders/1'])
    for (const again of await Promise.all([submit(cookie, form), submit(cookie, form)])) {
      expect([again.status, again.headers.get('location')]).toEqual([303, '/orders/1'])
    }
    for (let reload = 0; reload < 5; reload += 1) expect((await fetch(`${url}/orders/1`)).status).toBe(200)
    expect(await (await fetch(`${url}/orders/1`)).text()).toContain('Tea &lt;&amp;&gt;')
    expect(await parts.orders.count()).toBe(1)
  })

  it('of another visitor is refused', async () => {
    const [mine, other] = [await open(), await open()]
    expect((await submit(other.cookie, { token: mine.token, item: 'Tea', count: '1' })).status).toBe(403)
    expect(await parts.orders.count()).toBe(0)
  })

  it('moves an order by 303 too', async () => {
    await create(await getToken())
    const paid = await fetch(`${url}/orders/1/pay`, { method: 'POST', redirect: 'manual' })
    expect([paid.status, paid.headers.get('location')]).toEqual([303, '/orders/1'])
    expect(await (await fetch(`${url}/orders/1`)).text()).toContain('<strong>paid</strong>')
  })
})

const reach: Record<OrderState, readonly OrderMove[]> = {
  created: [],
  paid: ['pay'],
  shipped: ['pay', 'ship'],
  completed: ['pay', 'ship', 'complete'],
  cancelled: ['cancel'],
}

describe('the state machine (S-14)', () => {
  const pairs = Object.entries(reach).flatMap(([state, path]) =>
    orderMoves.map((move) => ({ state: state as OrderState, path, move })),
  )

  it.each(pairs)('$move in state $state does what the table says, and nothing else', async ({ state, path, move }) => {
    await create(await getToken())
    for (const each of path) expect((await send(`/order/1/${each}`, 'POST', {})).status).toBe(200)
    const before = await parts.orders.find(1)
    expect(before!.state).toBe(state)
    const target = targetOf(state, move)
    const answer = await send(`/order/1/${move}`, 'POST', {})
    const after = await parts.orders.find(1)
    if (target !== undefined) {
      expect(await answer.json()).toMatchObject({ state: target, changed: true, version: before!.version + 1 })
      expect(after!.state).toBe(target)
    } else {
      const alreadyThere = sourcesOf(move).some((source) => targetOf(source, move) === state)
      expect(answer.status).toBe(alreadyThere ? 200 : 409)
      expect(await answer.json()).toMatchObject(
        alreadyThere ? { changed: false } : { from: state, event: move, allowed: movesFrom(state) },
      )
      expect(after).toEqual(before)
    }
  })

  it('an unknown move and an unknown order are not found', async () => {
    await create(await getToken())
    expect((await send('/order/1/burn', 'POST', {})).status).toBe(404)
    expect((await send('/order/99/pay', 'POST', {})).status).toBe(404)
    expect((await fetch(`${url}/order/99`)).status).toBe(404)
  })
})

describe('editing (S-15)', () => {
  const edit = (ifMatch: string | undefined, body: object, more: Record<string, string> = {}) =>
    send('/order/1', 'PATCH', { ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }), ...more }, body)
  beforeEach(async () => {
    await create(await getToken())
  })

  it('of two editors of one version one wins, the other is told what it is now', async () => {
    const etag = (await fetch(`${url}/order/1`)).headers.get('etag')!
    expect(etag).toBe('"order-1-v1"')
    const [one, two] = await Promise.all([edit(etag, { count: 3 }), edit(etag, { count: 4 })])
    expect(statuses([one, two])).toEqual([200, 412])
    const lost = one.status === 412 ? one : two
    expect(lost.headers.get('etag')).toBe('"order-1-v2"')
    expect(await lost.json()).toMatchObject({ expected: etag, current: '"order-1-v2"', order: { version: 2 } })
  })

  it('without a version it is refused, and so is the version of another order', async () => {
    expect((await edit(undefined, { count: 3 })).status).toBe(428)
    expect((await edit('"order-2-v1"', { count: 3 })).status).toBe(412)
    expect((await edit('*', { count: 3 })).status).toBe(412)
    expect((await parts.orders.find(1))!.count).toBe(2)
  })

  it('a repeat with the same request key gets the first answer although its version is old by now', async () => {
    const key = { 'idempotency-key': 'edit-of-order-1' }
    const [first, repeat] = [
      await edit('"order-1-v1"', { count: 3 }, key),
      await edit('"order-1-v1"', { count: 3 }, key),
    ]
    expect([first.status, repeat.status, await repeat.text()]).toEqual([200, 200, await first.text()])
    expect(repeat.headers.get('idempotent-replayed')).toBe('true')
    expect((await parts.orders.find(1))!.version).toBe(2)
  })

  it('50 editors who refetch on 412 lose no edit (T-21)', async () => {
    const orders: OrderBook = createMemoryOrders()
    const { id } = await orders.create(tea)
    let successes = 0
    const editor = async (): Promise<void> => {
      for (let edits = 0; edits < 200;) {
        const seen = await orders.find(id)
        const outcome = await orders.edit(id, seen!.version, { count: seen!.count + 1 })
        if (outcome.kind !== 'edited') continue
        edits += 1
        successes += 1
      }
    }
    await Promise.all(Array.from({ length: 50 }, editor))
    expect(await orders.find(id)).toMatchObject({ version: 1 + successes, count: 2 + successes })
    expect(successes).toBe(10_000)
  })
})
