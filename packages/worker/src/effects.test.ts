// ctx.once against a server over real HTTP: what runs once, what is unknown, and what a lost lease stops.
import type { Assignment } from '@oncejob/protocol'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LeaseLost, StopRequested } from './errors.ts'
import { silentLog } from './log.ts'
import type { RunContext } from './processor.ts'
import { FakeServer, type Interception } from './testing/fake-server.ts'
import { until } from './testing/until.ts'
import { createWorker, type Worker } from './worker.ts'

let server: FakeServer
let worker: Worker | undefined
/** What the outside world has seen, by name. */
let world: string[] = []

beforeEach(async () => {
  server = await FakeServer.start()
  worker = undefined
  world = []
})
afterEach(async () => {
  await worker?.stop()
  await server.close()
})

type Work = (ctx: RunContext) => unknown

const start = async (work: Work): Promise<void> => {
  worker = createWorker({
    url: server.url,
    token: 'a-token',
    processors: { work },
    log: silentLog,
    signals: false,
    guardProcess: false,
  })
  await worker.start()
}

const reports = () => server.accepted
const expectAccepted = (count: number): Promise<void> =>
  until(`${count} results are accepted`, () => server.accepted.length === count)
/** The next attempt of the run. */
const next = ({ runId, lease, attempt, guarantee }: Assignment): Assignment =>
  server.add({ runId, lease: lease + 100_000, attempt: attempt + 1, guarantee })

const mail = (): { sent: string } => {
  world.push('mail')
  return { sent: 'yes' }
}
/** An attempt whose `fn` did its work and then broke, so that nothing is recorded. */
const breaks = (ctx: RunContext): Promise<unknown> =>
  ctx.once('mail', () => {
    mail()
    throw new Error('the connection broke')
  })

describe('an effect', () => {
  test('runs once: a later attempt gets the recorded outcome', async () => {
    const seen: unknown[] = []
    await start(async (ctx) => {
      seen.push(await ctx.once('mail', mail))
      if (ctx.isFirstAttempt) throw new Error('broke afterwards')
    })
    const run = server.add()
    await expectAccepted(1)
    next(run)
    await expectAccepted(2)
    expect(world).toEqual(['mail'])
    expect(seen).toEqual([{ sent: 'yes' }, { sent: 'yes' }])
    expect(reports().map(({ outcome }) => outcome)).toEqual(['failed', 'succeeded'])
  })

  test('gives the first attempt what later ones will get: its outcome through JSON', async () => {
    const seen: unknown[] = []
    await start(async (ctx) => {
      seen.push(await ctx.once<unknown>('date', () => new Date(0)))
      seen.push(await ctx.once('nothing', () => undefined))
      seen.push(await ctx.once('null', () => null))
      seen.push(await ctx.once('late', () => Promise.resolve(7)))
    })
    const run = server.add()
    await expectAccepted(1)
    next(run)
    await expectAccepted(2)
    const once = ['1970-01-01T00:00:00.000Z', undefined, null, 7]
    expect(seen).toEqual([...once, ...once])
  })

  test('of another name or another run is another effect', async () => {
    await start((ctx) =>
      Promise.all(['a', 'b'].map((name) => ctx.once(name, () => world.push(`${ctx.runId} ${name}`)))),
    )
    const [one, two] = [server.add(), server.add()]
    await expectAccepted(2)
    expect(world.toSorted()).toEqual([`${one.runId} a`, `${one.runId} b`, `${two.runId} a`, `${two.runId} b`])
  })

  test('is not begun twice when the answers of the server are lost', async () => {
    let lost = 0
    // the server has acted, and nobody hears of it
    server.intercept = ({ path, body }): Interception => {
      if (!path.startsWith('/effects/') || lost >= 2) return undefined
      if (path === '/effects/begin' && lost === 1) return undefined
      lost += 1
      const { runId, lease, name } = body as { runId: number; lease: number; name: string }
      server.effects.set(`${runId}/${name}`, { lease, done: path === '/effects/end', outcome: 'stored' })
      return 'hang-up'
    }
    await start((ctx) => ctx.once('mail', mail))
    server.add()
    await expectAccepted(1)
    expect(lost).toBe(2)
    expect(world).toEqual(['mail'])
    // what is recorded counts
    expect(reports()[0]).toMatchObject({ outcome: 'succeeded', result: 'stored' })
  })

  test('waits through an outage of the server, with its outcome in hand', async () => {
    await start((ctx) =>
      ctx.once('mail', () => {
        server.hangUp()
        return mail()
      }),
    )
    server.add()
    await until('the effect happened', () => world.length === 1)
    server.down = false
    await expectAccepted(1)
    expect(reports()[0]).toMatchObject({ outcome: 'succeeded', result: { sent: 'yes' } })
    expect([...server.effects.values()]).toMatchObject([{ done: true, outcome: { sent: 'yes' } }])
  })

  test('under way can not be begun again under the same name, also from inside itself', async () => {
    await start((ctx) => ctx.once('mail', () => ctx.once('mail', mail)))
    server.add()
    await expectAccepted(1)
    expect(world).toEqual([])
    expect(reports()[0]).toMatchObject({ outcome: 'failed', error: { code: 'TypeError' } })
  })

  test.each(['', ' ', 'x'.repeat(256), 'nul\u0000', '\ud800'])('needs a name that fits: %j', async (name) => {
    await start((ctx) => ctx.once(name, mail))
    server.add()
    await expectAccepted(1)
    expect(world).toEqual([])
    expect(reports()[0]).toMatchObject({ outcome: 'failed', error: { code: 'TypeError' } })
    expect(server.effects.size).toBe(0)
  })

  test('whose outcome JSON can not express, or the server does not take, fails the run for good', async () => {
    server.intercept = ({ path, body }): Interception =>
      path === '/effects/end' && (body as { name: string }).name === 'big'
        ? { status: 413, body: { code: 'EFFECT_OUTCOME_TOO_LARGE', detail: 'too large', status: 413 } }
        : undefined
    await start((ctx) => ctx.once<unknown>(String(ctx.params), () => (ctx.params === 'big' ? 'xxx' : 10n)))
    server.add({ params: 'bigint' })
    server.add({ params: 'big' })
    await expectAccepted(2)
    for (const report of reports())
      expect(report).toMatchObject({ outcome: 'failed', terminal: true, error: { code: 'EFFECT_OUTCOME_INVALID' } })
    expect([...server.effects.values()].map(({ done }) => done)).toEqual([false, false])
  })
})

describe('an effect that was begun and not recorded', () => {
  /** A first attempt that breaks in the middle, then a second one that does `again`. */
  const twice = async (again: Work): Promise<void> => {
    await start((ctx) => (ctx.isFirstAttempt ? breaks(ctx) : again(ctx)))
    const run = server.add()
    await expectAccepted(1)
    next(run)
    await expectAccepted(2)
  }

  test('runs again by default: at least once', async () => {
    await twice((ctx) => ctx.once('mail', mail))
    expect(world).toEqual(['mail', 'mail'])
    expect([...server.effects.values()]).toMatchObject([{ done: true, outcome: { sent: 'yes' } }])
  })

  test("with 'ask' is not run, and the run fails for good: at most once", async () => {
    await twice((ctx) => ctx.once('mail', mail, { onUnknown: 'ask' }))
    expect(world).toEqual(['mail'])
    expect(reports()[1]).toMatchObject({ outcome: 'failed', terminal: true, error: { code: 'EFFECT_UNKNOWN' } })
    expect([...server.effects.values()]).toMatchObject([{ done: false }])
  })

  test('of a job that is executed at most once is not run by default, and the report names the effect', async () => {
    await start((ctx) => (ctx.isFirstAttempt ? breaks(ctx) : ctx.once('mail', mail)))
    const run = server.add({ guarantee: 'at-most-once' })
    await expectAccepted(1)
    next(run)
    await expectAccepted(2)
    expect(world).toEqual(['mail'])
    expect(reports()[1]).toMatchObject({
      outcome: 'failed',
      terminal: true,
      error: { code: 'EFFECT_UNKNOWN' },
      effect: 'mail',
    })
  })

  test('of such a job runs again when the call says so, and is resolved when it can be', async () => {
    await start(async (ctx) => {
      expect(ctx.guarantee).toBe('at-most-once')
      if (ctx.isFirstAttempt) {
        await breaks(ctx).catch(() => undefined)
        await ctx.once('find', () => Promise.reject(new Error('broke'))).catch(() => undefined)
        throw new Error('broke')
      }
      await ctx.once('mail', mail, { onUnknown: 'run-again' })
      return ctx.once('find', mail, { resolve: async () => ({ outcome: { sent: 'found' } }) })
    })
    const run = server.add({ guarantee: 'at-most-once' })
    await expectAccepted(1)
    next(run)
    await expectAccepted(2)
    expect(world).toEqual(['mail', 'mail'])
    expect(reports()[1]).toMatchObject({ outcome: 'succeeded', result: { sent: 'found' } })
  })

  test('is asked for with resolve, and what that finds is recorded', async () => {
    await twice((ctx) => ctx.once('mail', mail, { resolve: async () => ({ outcome: { sent: 'found' } }) }))
    expect(world).toEqual(['mail'])
    expect(reports()[1]).toMatchObject({ outcome: 'succeeded', result: { sent: 'found' } })
    expect([...server.effects.values()]).toMatchObject([{ done: true, outcome: { sent: 'found' } }])
  })

  test('runs when resolve finds that it did not happen', async () => {
    await twice((ctx) => ctx.once('mail', mail, { onUnknown: 'resolve', resolve: async () => 'not-done' }))
    expect(world).toEqual(['mail', 'mail'])
  })

  test('stays unknown when resolve fails', async () => {
    await twice((ctx) => ctx.once('mail', mail, { resolve: () => Promise.reject(new Error('nobody answers')) }))
    expect(world).toEqual(['mail'])
    expect([...server.effects.values()]).toMatchObject([{ done: false }])
  })

  test('can not be resolved without resolve, and a new one is not begun with such options either', async () => {
    await start((ctx) => ctx.once('mail', mail, { onUnknown: 'resolve' }))
    server.add()
    await expectAccepted(1)
    expect([world, server.effects.size]).toEqual([[], 0])
  })

  test('is unknown already to the same attempt', async () => {
    await start(async (ctx) => {
      await breaks(ctx).catch(() => undefined)
      await ctx.once('mail', mail, { onUnknown: 'ask' })
    })
    server.add()
    await expectAccepted(1)
    expect(world).toEqual(['mail'])
    expect(reports()[0]).toMatchObject({ error: { code: 'EFFECT_UNKNOWN' } })
  })
})

describe('a lost lease', () => {
  test('lets no effect begin, aborts the signal, and nothing is reported', async () => {
    const thrown: unknown[] = []
    const gate = Promise.withResolvers<void>()
    await start(async (ctx) => {
      if (ctx.attempt > 1) return 'second'
      await gate.promise
      await ctx.once('mail', mail).catch((error: unknown) => thrown.push(error, ctx.signal.reason))
      await ctx.once('other', mail).catch((error: unknown) => thrown.push(error))
      return 'first'
    })
    const run = server.add()
    await until('the run is out', () => worker?.status().running === 1)
    server.takeBack(run)
    gate.resolve()
    await until('all is thrown', () => thrown.length === 3)
    for (const error of thrown) expect(error).toMatchObject({ code: 'LEASE_LOST', how: 'lost' })
    expect(thrown[0]).toBeInstanceOf(LeaseLost)
    expect([world, server.effects.size]).toEqual([[], 0])
    next(run)
    await expectAccepted(1)
    expect(server.reports.map((report) => 'result' in report && report.result)).toEqual(['second'])
  })

  test('while fn runs leaves its effect unknown', async () => {
    const thrown: unknown[] = []
    const gate = Promise.withResolvers<void>()
    await start((ctx) =>
      ctx
        .once('mail', async () => {
          await gate.promise
          return mail()
        })
        .catch((error: unknown) => thrown.push(error)),
    )
    const run = server.add()
    await until('the effect is begun', () => server.effects.size === 1)
    server.takeBack(run)
    gate.resolve()
    await until('it is thrown', () => thrown.length === 1)
    expect(thrown[0]).toMatchObject({ code: 'LEASE_LOST', how: 'lost' })
    expect([...server.effects.values()]).toMatchObject([{ done: false, lease: run.lease }])
  })
})

describe('a stop', () => {
  test('lets an effect that runs record its outcome', async () => {
    const gate = Promise.withResolvers<void>()
    const reasons: unknown[] = []
    await start(async (ctx) => {
      ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason))
      await ctx.once('mail', async () => {
        await gate.promise
        return mail()
      })
      ctx.signal.throwIfAborted()
    })
    const run = server.add()
    await until('the effect is begun', () => server.effects.size === 1)
    server.order(run, 'stop')
    await until('the signal aborts', () => reasons.length === 1)
    expect(reasons[0]).toBeInstanceOf(StopRequested)
    gate.resolve()
    await expectAccepted(1)
    expect(reports()[0]).toMatchObject({ outcome: 'stopped' })
    expect([...server.effects.values()]).toMatchObject([{ done: true, outcome: { sent: 'yes' } }])
  })
})
