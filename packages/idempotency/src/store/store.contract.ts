// What every store promises. S1–S4 are the numbers of store.ts.
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seeded } from '../testing/seed.ts'
import type { OpenStores } from '../testing/stores.ts'
import type { Answer, ClaimOutcome, ClaimRequest, Limits, RecordKey, Store } from './store.ts'

const ttlMs = 300_000
const roomy: Limits = { perMinute: 1_000_000, outstanding: 1_000_000 }
const newKey = (scope: string = randomUUID()): RecordKey => ({ scope, id: randomUUID() })

const claimOf = (key: RecordKey, more: Partial<ClaimRequest> = {}): ClaimRequest => ({
  key,
  bind: 'bind',
  owner: randomUUID(),
  fingerprint: 'v1.a',
  leaseMs: 60_000,
  takeOver: false,
  createTtlMs: undefined,
  to: 'claimed',
  requestId: 'req-1',
  ...more,
})

const answer: Answer = {
  status: 201,
  headers: { 'content-type': 'application/octet-stream', location: '/orders/7' },
  body: Uint8Array.from({ length: 256 }, (_, byte) => byte),
}

const kinds = (outcomes: readonly ClaimOutcome[]): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const { kind } of outcomes) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

export interface ContractSize {
  readonly rounds: number
  readonly propertyRuns: number
  readonly sweeps: boolean
}

export const storeContract = (
  open: () => Promise<OpenStores>,
  { rounds, propertyRuns, sweeps }: ContractSize,
): void => {
  let opened: OpenStores
  let store: Store
  beforeAll(async () => {
    opened = await open()
    ;[store] = opened.stores
  })
  afterAll(async () => {
    await opened.close()
  })

  const issue = async (key: RecordKey, more: { bind?: string; ttlMs?: number; limits?: Limits } = {}) =>
    store.issue({ key, bind: 'bind', ttlMs, limits: roomy, ...more })
  const issued = async (scope?: string): Promise<RecordKey> => {
    const key = newKey(scope)
    expect(await issue(key)).toMatchObject({ kind: 'issued' })
    return key
  }

  describe('a token', () => {
    it('is claimed once, completed by its owner, and then gives the answer back byte by byte', async () => {
      const key = await issued()
      const first = claimOf(key)
      expect(await store.claim(first)).toMatchObject({ kind: 'claimed', takenOver: false })
      expect(await store.claim(claimOf(key, { requestId: 'req-2' }))).toMatchObject({
        kind: 'busy',
        requestId: 'req-1',
      })
      expect(await store.complete({ key, owner: first.owner, status: 201, answer, ttlMs })).toBe('done')
      const repeat = await store.claim(claimOf(key))
      expect(repeat).toMatchObject({ kind: 'done', status: 201, requestId: 'req-1', fingerprint: 'v1.a' })
      expect(repeat.kind === 'done' && repeat.answer?.headers).toEqual(answer.headers)
      expect(repeat.kind === 'done' && [...repeat.answer!.body]).toEqual([...answer.body])
    })

    it('that was never issued is absent', async () => {
      expect(await store.claim(claimOf(newKey()))).toEqual({ kind: 'absent' })
      expect(await store.read(newKey())).toBeUndefined()
    })

    it('is issued once', async () => {
      const key = await issued()
      expect(await issue(key)).toEqual({ kind: 'exists' })
    })

    it(`is claimed by one of three that come at once, ${rounds} rounds (S1, T-01)`, async () => {
      const wins: number[] = []
      for (let at = 0; at < rounds; at += 100) {
        const batch = Array.from({ length: Math.min(100, rounds - at) }, async () => {
          const key = await issued('rounds')
          const outcomes = await Promise.all(opened.stores.map((each) => each.claim(claimOf(key))))
          wins.push(kinds(outcomes)['claimed'] ?? 0)
          expect(kinds(outcomes)).toEqual({ claimed: 1, busy: 2 })
        })
        await Promise.all(batch)
      }
      expect(wins).toEqual(Array.from({ length: rounds }, () => 1))
    })

    it('is used up by one of 200 that come at once (S-08)', async () => {
      const key = await issued()
      const claims = Array.from({ length: 200 }, (_, at) => opened.stores[at % 3]!.claim(claimOf(key, { to: 'done' })))
      expect(kinds(await Promise.all(claims))).toEqual({ claimed: 1, done: 199 })
    })

    it('that was used up in one step has no answer, and can be neither completed nor given back', async () => {
      const key = await issued()
      const use = claimOf(key, { to: 'done' })
      expect(await store.claim(use)).toMatchObject({ kind: 'claimed' })
      expect(await store.complete({ key, owner: use.owner, status: 200, answer, ttlMs })).toBe('stale')
      expect(await store.release({ key, owner: use.owner })).toBe('stale')
      const repeat = await store.claim(claimOf(key))
      expect(repeat).toMatchObject({ kind: 'done' })
      expect(repeat.kind === 'done' && repeat.answer).toBeUndefined()
    })

    it('that is given back is new again, also for another body', async () => {
      const key = await issued()
      const first = claimOf(key)
      await store.claim(first)
      expect(await store.release({ key, owner: first.owner })).toBe('released')
      expect(await store.read(key)).toMatchObject({ state: 'new' })
      expect(await store.claim(claimOf(key, { fingerprint: 'v1.b' }))).toMatchObject({
        kind: 'claimed',
        takenOver: false,
      })
    })

    it('bound to something else is a mismatch, and stays usable', async () => {
      const key = await issued()
      expect(await store.claim(claimOf(key, { bind: 'other' }))).toEqual({ kind: 'mismatch' })
      expect(await store.claim(claimOf(key))).toMatchObject({ kind: 'claimed' })
    })

    it('with another body is reused, claimed or done', async () => {
      const key = await issued()
      const first = claimOf(key)
      await store.claim(first)
      expect(await store.claim(claimOf(key, { fingerprint: 'v1.b' }))).toMatchObject({
        kind: 'reused',
        fingerprint: 'v1.a',
      })
      await store.complete({ key, owner: first.owner, status: 200, answer, ttlMs })
      expect(await store.claim(claimOf(key, { fingerprint: 'v1.b' }))).toMatchObject({
        kind: 'reused',
        fingerprint: 'v1.a',
      })
    })

    it('is good after 299 s and expired after 301 s (S-07, S4)', async () => {
      const [early, late] = [await issued(), await issued()]
      opened.advance(299_000)
      expect(await store.claim(claimOf(early))).toMatchObject({ kind: 'claimed' })
      opened.advance(2_000)
      expect(await store.claim(claimOf(late))).toEqual({ kind: 'expired' })
      expect(await store.read(late)).toBeUndefined()
    })

    it('that is used keeps its answer for the time it was completed with, and is never new again (S3)', async () => {
      const key = await issued()
      const first = claimOf(key)
      await store.claim(first)
      opened.advance(200_000)
      await store.complete({ key, owner: first.owner, status: 201, answer, ttlMs })
      opened.advance(299_000)
      expect(await store.claim(claimOf(key))).toMatchObject({ kind: 'done' })
      opened.advance(2_000)
      expect(await store.claim(claimOf(key))).toEqual({ kind: 'expired' })
    })

    it('is not kept shorter because its answer is kept shortly', async () => {
      const key = await issued()
      const first = claimOf(key)
      await store.claim(first)
      await store.complete({ key, owner: first.owner, status: 201, answer, ttlMs: 1_000 })
      opened.advance(250_000)
      expect(await store.claim(claimOf(key))).toMatchObject({ kind: 'done' })
    })
  })

  describe('an owner', () => {
    it('alone can complete, give back or extend its claim (S2)', async () => {
      const key = await issued()
      const first = claimOf(key)
      await store.claim(first)
      const stranger = randomUUID()
      expect(await store.complete({ key, owner: stranger, status: 200, answer, ttlMs })).toBe('stale')
      expect(await store.release({ key, owner: stranger })).toBe('stale')
      expect(await store.extend({ key, owner: stranger, leaseMs: 1 })).toBe('stale')
      expect(await store.extend({ key, owner: first.owner, leaseMs: 60_000 })).toBe('extended')
      expect(await store.complete({ key, owner: first.owner, status: 200, answer: undefined, ttlMs })).toBe('done')
      expect(await store.complete({ key, owner: first.owner, status: 500, answer, ttlMs })).toBe('stale')
    })

    it('that is not heard of is succeeded only where take-over is wanted, and is stale from then on', async () => {
      const key = await issued()
      const first = claimOf(key, { leaseMs: 1_000 })
      await store.claim(first)
      expect(await store.claim(claimOf(key, { takeOver: true }))).toMatchObject({ kind: 'busy' })
      opened.advance(1_001)
      expect(await store.claim(claimOf(key))).toMatchObject({ kind: 'busy' })
      const heir = claimOf(key, { takeOver: true })
      expect(await store.claim(heir)).toMatchObject({ kind: 'claimed', takenOver: true })
      expect(await store.complete({ key, owner: first.owner, status: 200, answer, ttlMs })).toBe('stale')
      expect(await store.complete({ key, owner: heir.owner, status: 200, answer, ttlMs })).toBe('done')
    })

    it('that extends its lease is not succeeded', async () => {
      const key = await issued()
      const first = claimOf(key, { leaseMs: 1_000 })
      await store.claim(first)
      opened.advance(900)
      expect(await store.extend({ key, owner: first.owner, leaseMs: 1_000 })).toBe('extended')
      opened.advance(900)
      expect(await store.claim(claimOf(key, { takeOver: true }))).toMatchObject({ kind: 'busy' })
    })

    it('is succeeded by one of three that come at once', async () => {
      for (let round = 0; round < 30; round += 1) {
        const key = await issued()
        await store.claim(claimOf(key, { leaseMs: 10 }))
        opened.advance(11)
        const heirs = await Promise.all(opened.stores.map((each) => each.claim(claimOf(key, { takeOver: true }))))
        expect(kinds(heirs)).toEqual({ claimed: 1, busy: 2 })
      }
    })
  })

  describe('a request key', () => {
    const create = { createTtlMs: 3_600_000 }

    it('is made by its first use; the repeat gets the answer', async () => {
      const key = newKey()
      const first = claimOf(key, create)
      expect(await store.claim(first)).toMatchObject({ kind: 'claimed', takenOver: false })
      expect(await store.claim(claimOf(key, create))).toMatchObject({ kind: 'busy' })
      await store.complete({ key, owner: first.owner, status: 201, answer, ttlMs: 3_600_000 })
      expect(await store.claim(claimOf(key, create))).toMatchObject({ kind: 'done', status: 201 })
      expect(await store.read(key)).toMatchObject({ state: 'done', status: 201, requestId: 'req-1' })
    })

    it('is made by one of three that come at once', async () => {
      for (let round = 0; round < 100; round += 1) {
        const key = newKey()
        const outcomes = await Promise.all(opened.stores.map((each) => each.claim(claimOf(key, create))))
        expect(kinds(outcomes)).toEqual({ claimed: 1, busy: 2 })
      }
    })

    it('that is given back is gone', async () => {
      const key = newKey()
      const first = claimOf(key, create)
      await store.claim(first)
      expect(await store.release({ key, owner: first.owner })).toBe('released')
      expect(await store.read(key)).toBeUndefined()
      expect(await store.claim(claimOf(key, { ...create, fingerprint: 'v1.b' }))).toMatchObject({ kind: 'claimed' })
    })

    it('that has expired is made anew, by one', async () => {
      const key = newKey()
      const first = claimOf(key, create)
      await store.claim(first)
      await store.complete({ key, owner: first.owner, status: 201, answer, ttlMs: 3_600_000 })
      opened.advance(3_600_001)
      const again = await Promise.all(
        opened.stores.map((each) => each.claim(claimOf(key, { ...create, fingerprint: 'v1.b' }))),
      )
      expect(kinds(again)).toEqual({ claimed: 1, busy: 2 })
    })

    it('with two bodies racing is one body, the other is always reused (T-05)', async () => {
      for (let round = 0; round < 50; round += 1) {
        const key = newKey()
        const outcomes = await Promise.all(
          opened.stores.map((each, at) => each.claim(claimOf(key, { ...create, fingerprint: `v1.${at % 2}` }))),
        )
        expect(kinds(outcomes)['claimed']).toBe(1)
      }
    })
  })

  describe('an account', () => {
    it('gets so many tokens within a minute, also when all are asked for at once', async () => {
      const scope = randomUUID()
      const limits = { perMinute: 10, outstanding: 1_000 }
      const asked = Array.from({ length: 40 }, (_, at) =>
        opened.stores[at % 3]!.issue({ key: newKey(scope), bind: 'bind', ttlMs, limits }),
      )
      const outcomes = await Promise.all(asked)
      expect(outcomes.filter(({ kind }) => kind === 'issued')).toHaveLength(10)
      const refused = outcomes.filter((outcome) => outcome.kind === 'limited')
      expect(refused).toHaveLength(30)
      expect(refused[0]).toMatchObject({ limit: 'perMinute' })
      expect(refused[0]!.retryAfterMs).toBeGreaterThan(59_000)
      opened.advance(60_001)
      expect(await issue(newKey(scope), { limits })).toMatchObject({ kind: 'issued' })
    })

    it('holds so many unused tokens; using one or its end makes room', async () => {
      const scope = randomUUID()
      const limits = { perMinute: 1_000, outstanding: 2 }
      const [one, two] = [newKey(scope), newKey(scope)]
      await issue(one, { limits })
      opened.advance(1_000)
      await issue(two, { limits })
      expect(await issue(newKey(scope), { limits })).toMatchObject({
        kind: 'limited',
        limit: 'outstanding',
        retryAfterMs: 299_000,
      })
      const use = claimOf(one)
      await store.claim(use)
      const three = newKey(scope)
      expect(await issue(three, { limits })).toMatchObject({ kind: 'issued' })
      await store.release({ key: one, owner: use.owner })
      expect(await issue(newKey(scope), { limits })).toMatchObject({ kind: 'limited' })
      opened.advance(300_001)
      expect(await issue(newKey(scope), { limits })).toMatchObject({ kind: 'issued' })
    })

    it('does not count against another', async () => {
      const limits = { perMinute: 1, outstanding: 1 }
      expect(await issue(newKey(), { limits })).toMatchObject({ kind: 'issued' })
      expect(await issue(newKey(), { limits })).toMatchObject({ kind: 'issued' })
    })
  })

  it('what somebody works on is not swept from under him, however long he takes', async () => {
    const key = await issued()
    const slow = claimOf(key, { leaseMs: 400_000 })
    await store.claim(slow)
    opened.advance(350_000)
    await store.sweep()
    expect(await store.complete({ key, owner: slow.owner, status: 201, answer, ttlMs })).toBe('done')
    expect(await store.claim(claimOf(key))).toMatchObject({ kind: 'done' })
  })

  it('sweeping leaves no expired record and takes no live one (T-08)', async () => {
    opened.advance(31 * 86_400_000)
    await store.sweep()
    const old = await Promise.all(Array.from({ length: 20 }, () => issued()))
    opened.advance(200_000)
    const live = await Promise.all(Array.from({ length: 20 }, () => issued()))
    opened.advance(150_000)
    // Redis removes by itself, by the clock on the wall: there only the answer can be looked at.
    expect(await store.sweep()).toBe(sweeps ? 20 : 0)
    expect(await store.sweep()).toBe(0)
    for (const key of old) expect(await store.claim(claimOf(key))).toEqual({ kind: sweeps ? 'absent' : 'expired' })
    for (const key of live) expect(await store.read(key)).toMatchObject({ state: 'new' })
  })

  it('any interleaving of issue, claim, crash, completion, give-back and time accepts a token at most once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => accepts(opened, steps)),
      seeded(propertyRuns),
    )
  })

  it('any interleaving of uses, crashes, completion, give-back and time keeps at most one answer of a request key', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(keyStep, { minLength: 5, maxLength: 40 }), (steps) => keeps(opened, steps)),
      seeded(propertyRuns),
    )
  })
}

type KeyStep =
  | { readonly do: 'claim'; readonly at: number; readonly body: number; readonly takeOver: boolean }
  | { readonly do: 'complete' | 'release' | 'crash'; readonly who: number }
  | { readonly do: 'advance'; readonly byMs: number }

const keyStep: fc.Arbitrary<KeyStep> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('claim' as const), at: fc.nat(2), body: fc.nat(1), takeOver: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('complete' as const, 'release' as const, 'crash' as const),
      who: fc.nat(5),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('advance' as const), byMs: fc.constantFrom(400, 1_001, 3_600_001) }),
  },
)

/** Plays the steps on a request key and on its rules; `effects` counts completions while one answer is kept. */
const keeps = async ({ stores, advance }: OpenStores, steps: readonly KeyStep[]): Promise<void> => {
  const key = newKey()
  const [leaseMs, createTtlMs] = [1_000, 3_600_000]
  const gone = { state: 'absent' as 'absent' | 'claimed' | 'done', owner: '', body: '', lease: 0, ends: 0 }
  let model = { ...gone }
  const owners: string[] = []
  let [atMs, effects] = [0, 0]

  const claim = async (each: KeyStep & { do: 'claim' }): Promise<void> => {
    const fingerprint = `v1.${each.body}`
    const request = claimOf(key, { fingerprint, leaseMs, createTtlMs, takeOver: each.takeOver })
    const { kind } = await stores[each.at]!.claim(request)
    if (model.ends <= atMs) {
      model = { ...gone }
      effects = 0
    }
    const free = model.state === 'absent' || (model.state === 'claimed' && each.takeOver && model.lease <= atMs)
    if (model.state !== 'absent' && model.body !== fingerprint) expect(kind).toBe('reused')
    else if (model.state === 'done') expect(kind).toBe('done')
    else if (!free) expect(kind).toBe('busy')
    else {
      expect(kind).toBe('claimed')
      const ends = model.state === 'absent' ? atMs + createTtlMs : model.ends
      model = { state: 'claimed', owner: request.owner, body: fingerprint, lease: atMs + leaseMs, ends }
      owners.push(request.owner)
    }
  }

  for (const each of steps) {
    if (each.do === 'advance') {
      advance(each.byMs)
      atMs += each.byMs
    } else if (each.do === 'claim') await claim(each)
    else {
      const owner = owners[each.who % Math.max(1, owners.length)]
      if (owner === undefined || each.do === 'crash' || model.ends <= atMs) continue
      const may = model.state === 'claimed' && model.owner === owner
      const store = stores[each.who % 3]!
      if (each.do === 'release') {
        expect(await store.release({ key, owner })).toBe(may ? 'released' : 'stale')
        if (may) model = { ...gone }
      } else {
        const told = await store.complete({ key, owner, status: 200, answer, ttlMs: createTtlMs })
        expect(told).toBe(may ? 'done' : 'stale')
        if (may) {
          effects += 1
          model = { ...model, state: 'done', ends: Math.max(model.ends, atMs + createTtlMs) }
        }
      }
    }
    expect(effects).toBeLessThanOrEqual(1)
  }
}

type Step =
  | {
      readonly do: 'claim'
      readonly at: number
      readonly to: 'claimed' | 'done'
      readonly body: number
      readonly takeOver: boolean
    }
  | { readonly do: 'complete' | 'release' | 'extend' | 'crash'; readonly who: number }
  | { readonly do: 'advance'; readonly byMs: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('claim' as const),
      at: fc.nat(2),
      to: fc.constantFrom('claimed' as const, 'done' as const),
      body: fc.nat(1),
      takeOver: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('complete' as const, 'release' as const, 'extend' as const, 'crash' as const),
      who: fc.nat(5),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      byMs: fc.constantFrom(1, 400, 1_001, 100_000, 300_001),
    }),
  },
)

/** Plays the steps on the store and on the rules; `ledger` counts acceptances that were never given back or taken over. */
const accepts = async ({ stores, advance }: OpenStores, steps: readonly Step[]): Promise<void> => {
  const key = newKey()
  const leaseMs = 1_000
  await stores[0].issue({ key, bind: 'bind', ttlMs, limits: roomy })
  const model = { state: 'new' as 'new' | 'claimed' | 'done', owner: '', body: '', lease: 0, ends: ttlMs }
  const owners: string[] = []
  let atMs = 0
  let finished = 0
  const mine = (owner: string): boolean => model.state === 'claimed' && model.owner === owner

  const claim = async (each: Step & { do: 'claim' }): Promise<void> => {
    const fingerprint = `v1.${each.body}`
    const request = claimOf(key, { fingerprint, leaseMs, takeOver: each.takeOver, to: each.to })
    const outcome = await stores[each.at]!.claim(request)
    const free = model.state === 'new' || (model.state === 'claimed' && each.takeOver && model.lease <= atMs)
    // What has expired may have been swept.
    if (model.ends <= atMs) expect(['expired', 'absent']).toContain(outcome.kind)
    else if (model.state !== 'new' && model.body !== fingerprint) expect(outcome.kind).toBe('reused')
    else if (model.state === 'done') expect(outcome.kind).toBe('done')
    else if (!free) expect(outcome.kind).toBe('busy')
    else {
      expect(outcome.kind).toBe('claimed')
      Object.assign(model, { state: each.to, owner: request.owner, body: fingerprint, lease: atMs + leaseMs })
      owners.push(request.owner)
      if (each.to === 'done') finished += 1
    }
  }

  for (const each of steps) {
    if (each.do === 'advance') {
      advance(each.byMs)
      atMs += each.byMs
    } else if (each.do === 'claim') await claim(each)
    else {
      const owner = owners[each.who % Math.max(1, owners.length)]
      if (owner === undefined) continue
      // An expired record that nobody works on may have been swept: whether it still is there, does not matter.
      if (each.do === 'crash' || (model.ends <= atMs && model.lease <= atMs)) continue
      const may = mine(owner)
      if (each.do === 'complete') {
        const told = await stores[each.who % 3]!.complete({ key, owner, status: 200, answer, ttlMs })
        expect(told).toBe(may ? 'done' : 'stale')
        if (may) {
          finished += 1
          Object.assign(model, { state: 'done', ends: Math.max(model.ends, atMs + ttlMs) })
        }
      } else if (each.do === 'release') {
        expect(await stores[each.who % 3]!.release({ key, owner })).toBe(may ? 'released' : 'stale')
        if (may) model.state = 'new'
      } else {
        expect(await stores[each.who % 3]!.extend({ key, owner, leaseMs })).toBe(may ? 'extended' : 'stale')
        if (may) model.lease = atMs + leaseMs
      }
    }
  }
  expect(finished).toBeLessThanOrEqual(1)
}
